"""Dead letters: when there are too many of them, and people's ways to list, show and replay them."""
