"""Surrogates: halves of characters, as a message has them that was cut in the middle of an emoji."""


def with_whole_surrogates(text: str) -> str:
    """The text with pairs of surrogates as their character, and U+FFFD in the place of a half without its other one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
