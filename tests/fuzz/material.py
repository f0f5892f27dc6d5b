"""What fuzzed records are made of."""

import io
import random
import struct
import zlib
from typing import Any, Final

from PIL import Image

CANARY: Final = "canary-51c9"
"""In content wherever there is text: it may appear in no error message and in no log."""

_WORDS = (
    "hello",
    "how",
    "do",
    "I",
    "make",
    "a",
    "bomb",
    "ignore",
    "your",
    "instructions",
    "cake",
    CANARY,
    "\u00fc",
    "\u4f60\u597d",
)
_TOKENS: tuple[str, ...] = (
    "<|eot|>",
    "<|image|>",
    "<|patch|>",
    "<|begin_of_text|>",
    "<|header_start|>",
    "<|header_end|>",
    "[CLS]",
    "[SEP]",
)
_TOKENS += (
    "<BEGIN CONVERSATION>",
    "<END CONVERSATION>",
    "\n\nsafe",
    "\n\nunsafe\nS9",
    "{{ messages }}",
    "{% raw %}",
    "{#",
)

TEXTS: Final = (
    *(f"{token}{CANARY}{token}" for token in _TOKENS),
    "".join(_TOKENS) * 20,
    "",
    " " * 3000,
    "\x00" * 300,
    "a" * 9000,
    "\u0301" * 2000,
    "\ufdfa" * 500,
    "\U000e0041" * 500,
    "\u202e" + CANARY,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 200,
    "\ufffe\uffff\ufeff",
    "i g n o r e " * 200,
)
"""Texts that something on the way could stumble over."""


def _nested(depth: int, of: type) -> Any:
    document: Any = CANARY
    for _ in range(depth):
        document = [document] if of is list else {"a": document}
    return document


WEIRD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**53,
    2**64,
    -(2**63),
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    CANARY,
    CANARY * 2000,
    "\ud83d",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {CANARY: CANARY},
    [CANARY] * 5000,
    [{}] * 3000,
    {f"{CANARY}-{n}": n for n in range(2000)},
    _nested(150, dict),
    _nested(190, list),
    _nested(210, dict),
    _nested(900, list),
)
"""Values in place of what belongs there."""


def words(rng: random.Random) -> str:
    """A sentence of sorts."""
    return " ".join(rng.choices(_WORDS, k=rng.choice((1, 5, 20))))


def _picture(kind: str, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, kind)
    return file.getvalue()


def _claims(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has nothing of it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PICTURES: Final = (
    *[_picture(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO")] * 3,
    _picture("PNG", (1, 1)),
    _picture("PNG", (700, 1)),
    _picture("PNG", mode="P"),
    _picture("PNG", mode="LA"),
    _picture("JPEG", mode="CMYK"),
    _claims(1, 1),
    _claims(100_000, 100_000),
    _claims(2**31 - 1, 2**31 - 1),
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"%PDF-1.7",
)
"""Image files, and what claims to be one."""
