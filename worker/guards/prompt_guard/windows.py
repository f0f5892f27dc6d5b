"""Windows: pieces of tokens that fit the classifier, over all of a text, never a truncation."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.guards.prompt_guard.normalise import normalise

WINDOW_TOKENS: Final = 512  # with the special tokens; the model accepts more without a word and is wrong then

# Tokenised at once: shorter texts are one slice, so their tokens are exactly the tokenizer's.
_SLICE_CHARS: Final = 16_384
_SEAM_CHARS: Final = 1024  # how far before a slice's end to look for a gap between words
# Text has 2 to 6 characters a token; more is padding, and not worth unbounded time.
_MOST_CHARS_PER_WINDOW: Final = 16 * WINDOW_TOKENS
# A gap between two words of two letters or more: spaced-out letters ("i g n o r e") stay in one slice.
_GAP: Final = re.compile(r"(?<=\S\S)\s+(?=\S\S)")

Window = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of a text."""

    windows: tuple[Window, ...]  # token ids with the special tokens, at most WINDOW_TOKENS each
    complete: bool  # False: the windows cover the beginning and the end, not the middle


class WindowCutter:
    """Cuts texts into windows of token ids. Thread-safe where `encode` is.

    `encode` gives a text's token ids without special tokens; `before` and `after` are the special tokens of a window;
    consecutive windows share `overlap` tokens.
    """

    def __init__(self, encode: Callable[[str], Sequence[int]], *, before: Window, after: Window, overlap: int) -> None:
        self._encode = encode
        self._before, self._after = before, after
        self._room = WINDOW_TOKENS - len(before) - len(after)
        if not 0 <= overlap < self._room:
            raise ValueError(f"the overlap must be from 0 to {self._room - 1} tokens, not {overlap}")
        self._step = self._room - overlap
        self._overlap = overlap

    @classmethod
    def of(cls, tokenizer: Any, *, overlap: int) -> "WindowCutter":
        """A cutter on a fast tokenizer (a `PreTrainedTokenizerFast`), whose backend it takes over.

        The backend's state is set once and never toggled, which makes encoding safe on several threads at once: no
        truncation, no padding, and text that spells a special token stays text.
        """
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True

        def encode(text: str) -> list[int]:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
            return ids

        bare, whole = encode("a"), list(backend.encode("a", add_special_tokens=True).ids)
        at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        return cls(encode, before=tuple(whole[:at]), after=tuple(whole[at + len(bare) :]), overlap=overlap)

    def cut(self, text: str, most: int) -> Cut:
        """At most `most` windows over the text; none where nothing visible is in it. `most` bounds the time, too."""
        ids, complete = self._from_start(text, self._tokens_of(most), most * _MOST_CHARS_PER_WINDOW)
        if complete:
            return Cut(self._windows(ids), complete=True)
        at_end = most // 2
        head = self._windows(ids[: self._tokens_of(most - at_end)])
        tail = self._from_end(text, self._tokens_of(at_end), at_end * _MOST_CHARS_PER_WINDOW) if at_end else []
        return Cut(head + self._windows(tail), complete=False)

    def _tokens_of(self, windows: int) -> int:
        return self._step * windows + self._overlap

    def _windows(self, ids: list[int]) -> tuple[Window, ...]:
        starts = range(0, max(len(ids) - self._overlap, 1), self._step) if ids else ()
        return tuple((*self._before, *ids[start : start + self._room], *self._after) for start in starts)

    def _from_start(self, text: str, most_tokens: int, most_chars: int) -> tuple[list[int], bool]:
        """Token ids from the start on, at most `most_tokens` and those of `most_chars`; and whether they are all."""
        ids: list[int] = []
        for piece in _pieces(text[:most_chars]):
            ids += self._encode(piece)
            if len(ids) > most_tokens:
                return ids[:most_tokens], False
        return ids, len(text) <= most_chars

    def _from_end(self, text: str, tokens: int, most_chars: int) -> list[int]:
        """The last `tokens` token ids, or those of the last `most_chars` characters."""
        encoded: list[Sequence[int]] = []
        missing = tokens
        for piece in _pieces_from_end(text[-most_chars:]):
            encoded.append(self._encode(piece))
            missing -= len(encoded[-1])
            if missing <= 0:
                break
        return [token for ids in reversed(encoded) for token in ids][-tokens:]


def _pieces(text: str) -> Iterator[str]:
    """The normalised text in pieces that are tokenised one by one."""
    start = 0
    while start < len(text):
        stop = _gap_before(text, start + _SLICE_CHARS)
        yield from _split(normalise(text[start:stop]))
        start = stop


def _pieces_from_end(text: str) -> Iterator[str]:
    """The normalised text in pieces, the last one first."""
    stop = len(text)
    while stop > 0:
        start = _gap_before(text, stop - _SLICE_CHARS) if stop > _SLICE_CHARS else 0
        yield from reversed(_split(normalise(text[start:stop])))
        stop = start


def _split(normal: str) -> list[str]:
    """A slice as it is, unless normalising blew it up (to 18 times its length at most): in even pieces then."""
    if len(normal) <= 2 * _SLICE_CHARS:
        return [normal]
    return [normal[start : start + _SLICE_CHARS] for start in range(0, len(normal), _SLICE_CHARS)]


def _gap_before(text: str, near: int) -> int:
    """A place at or shortly before `near` where cutting the text changes no token; else `near` itself."""
    if near >= len(text):
        return len(text)
    gaps = [gap.start() for gap in _GAP.finditer(text, max(near - _SEAM_CHARS, 0), near)]
    return gaps[-1] if gaps else near
