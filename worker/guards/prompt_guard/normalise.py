"""What Prompt Guard reads of a text: the characters a language model would see, without the tricks that hide them."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Final

from worker.contract.surrogates import with_whole_surrogates

# Characters that are drawn as nothing (Unicode's Default_Ignorable_Code_Point), interlinear annotation marks, and
# control characters that are not white space. Tag characters are missing on purpose: see _TAGS.
_INVISIBLE: Final = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls, without the six that are white space
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e007f-\U000e0fff"
    "]+"
)
# Tag characters shadow ASCII and are drawn as nothing, but models read them ("ASCII smuggling"): the guard shall, too.
_TAGS: Final = {0xE0000 + code: code for code in range(0x20, 0x7F)}
_TAG: Final = re.compile("[\U000e0020-\U000e007e]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Unicode's stream-safe limit (UAX 15). Without one, normalising a run of combining marks takes quadratic time.
_MOST_MARKS: Final = 30


def normalise(text: str) -> str:
    """The text in NFKC, without invisible characters and controls; halves of surrogate pairs become U+FFFD.

    Time is linear. White space, letter case and look-alike letters are left to the tokenizer's own normaliser.
    """
    if text.isascii():
        return _INVISIBLE.sub("", text)
    if _SURROGATE.search(text):
        text = with_whole_surrogates(text)
    if _TAG.search(text):
        text = text.translate(_TAGS)
    text = _INVISIBLE.sub("", text)
    return unicodedata.normalize("NFKC", _long_mark_run().sub(r"\1", text))


@cache
def _long_mark_run() -> re.Pattern[str]:
    marks = _ranges(code for code in range(0x20000) if unicodedata.combining(chr(code)))
    one = "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in marks) + "]"
    return re.compile(f"({one}{{{_MOST_MARKS}}}){one}+")


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges
