"""What deployment needs besides the worker: the generators of checked-in files, and the tools that check them."""
