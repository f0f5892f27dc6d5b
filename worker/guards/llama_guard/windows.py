"""Windows: a message too long for one prompt, cut into overlapping pieces that are judged one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Span = tuple[int, int]
"""Where a token begins and ends in its text, in characters."""

TokenSpans = Callable[[str], Sequence[Span]]

# Text is counted in tokens only as far as windows can reach: this many bytes a token. English has 4 to 5; where a text
# has more (long runs of blanks), it is called incomplete a little early.
_BYTES_PER_TOKEN: Final = 6


@dataclass(frozen=True, slots=True)
class Windows:
    """The pieces of a text, in its order."""

    texts: tuple[str, ...]
    complete: bool  # False: the pieces cover the text's beginning and its end, not its middle


@dataclass(frozen=True, slots=True)
class WindowSize:
    """How windows are cut, in tokens."""

    tokens: int  # most of one window
    overlap: int  # what a window repeats of the one before it
    most: int  # windows of one text

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.overlap < self.tokens or self.most < 1:
            raise ValueError(f"windows of {self.tokens} tokens, {self.overlap} overlapping, {self.most} at most")

    @property
    def step(self) -> int:
        """Tokens from one window's beginning to the next one's."""
        return self.tokens - self.overlap

    def reach(self, windows: int) -> int:
        """The tokens that this many windows cover."""
        return self.tokens + (windows - 1) * self.step if windows else 0


def surely_fits(text: str, tokens: int) -> bool:
    """True where a text has at most so many tokens without counting them: a byte-level token is at least a byte."""
    return len(text) <= tokens and len(text.encode()) <= tokens


def cut_windows(text: str, token_spans: TokenSpans, size: WindowSize) -> Windows:
    """The text itself where it fits a window; else overlapping windows, each a slice of the text.

    Time and memory are bounded by the windows, not by the text, which has no lone surrogates.
    """
    if surely_fits(text, size.tokens):
        return Windows((text,), complete=True)
    reach = size.reach(size.most)
    file = text.encode()
    if len(file) > reach * _BYTES_PER_TOKEN:
        part = reach * _BYTES_PER_TOKEN // 2
        return _both_ends(_decode(file[:part]), _decode(file[-part:]), token_spans, size)
    starts = _starts(text, token_spans)
    if len(starts) <= size.tokens:
        return Windows((text,), complete=True)
    if len(starts) <= reach:
        return Windows(_forwards(text, starts, size, size.most), complete=True)
    return _both_ends(text, text, lambda _: [(start, start) for start in starts], size)


def _decode(part: bytes) -> str:
    return part.decode(errors="ignore")  # but for a character cut in two at its edge, it is valid


def _both_ends(head: str, tail: str, token_spans: TokenSpans, size: WindowSize) -> Windows:
    """Half of the windows from the beginning of the one, half up to the end of the other."""
    first, last = (size.most + 1) // 2, size.most // 2
    texts = _forwards(head, _starts(head, token_spans), size, first)
    if last:
        texts += _forwards(tail, _starts(tail, token_spans)[-size.reach(last) :], size, last)
    return Windows(texts, complete=False)


def _starts(text: str, token_spans: TokenSpans) -> list[int]:
    return [start for start, _ in token_spans(text)] or [0]


def _forwards(text: str, starts: Sequence[int], size: WindowSize, most: int) -> tuple[str, ...]:
    """At most `most` windows over the tokens that begin at `starts`, from the first one on.

    A window ends where the next token begins: whatever lies between tokens is in a window too, and a character that is
    several tokens is never cut.
    """
    windows = []
    for begin in range(0, most * size.step, size.step):
        end = begin + size.tokens
        windows.append(text[starts[begin] : starts[end] if end < len(starts) else len(text)])
        if end >= len(starts):
            break
    return tuple(window for window in windows if window)
