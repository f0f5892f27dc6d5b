"""Fuzzed records from a seed: valid chat events, and what is left of them after a few accidents and malices."""

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.material import CANARY, PICTURES, TEXTS, WEIRD, words

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Fuzzed:
    """A record."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def fuzzed(seed: int, count: int) -> Iterator[Fuzzed]:
    """`count` records, the same ones for the same seed."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")  # so that any one of them can be made again
        yield Fuzzed(_key(rng), _value(rng), _headers(rng))


def _value(rng: random.Random) -> bytes | None:
    chance = rng.random()
    if chance < 0.02:
        return rng.choice((None, b"", b" ", b"\x00", b"null", b"[]", b"{}", b'""', b"NaN"))
    if chance < 0.04:
        return rng.randbytes(rng.choice((1, 10, 300, 20_000)))
    document = _event(rng)
    if rng.random() < 0.4:
        return json.dumps(document, ensure_ascii=rng.random() < 0.4).encode()
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5))):
        document = _with_an_accident(rng, document)
    text = _as_text(rng, document)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 3))):
        text = rng.choice(_IN_TEXT)(rng, text)
    value = _encoded(rng, text)
    for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 2, 10))):
        value = rng.choice(_IN_BYTES)(rng, value)
    return value


# -- whole events -----------------------------------------------------------------------------------------------------


def _event(rng: random.Random) -> Any:
    event = {
        "event_id": f"e-{rng.randrange(1000)}",
        "conversation_id": f"c-{rng.randrange(50)}",
        "messages": [_message(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 8)))],
    }
    for name, make in _OPTIONAL.items():
        if rng.random() < 0.2:
            event[name] = make(rng)
    return event


_OPTIONAL: dict[str, Callable[[random.Random], Any]] = {
    "tenant": lambda rng: rng.choice(("acme", "x" * 512, CANARY)),
    "policy": lambda rng: rng.choice(("default",) * 9 + ("no-such-policy",)),
    "occurred_at": lambda rng: rng.choice(("2026-05-01T12:00:00Z", "1970-01-01", 1e9, -1, "soon")),
    "metadata": lambda rng: {"channel": words(rng), "n": rng.choice((1, 1e308, 2**53, -(2**63), None, [[]], {"": {}}))},
    "detail": lambda rng: {"of": "nobody", CANARY: CANARY},
}


def _message(rng: random.Random) -> dict[str, Any]:
    role: str | None = rng.choice(("user", "user", "user", "assistant", "tool"))
    if rng.random() < 0.05:
        role = rng.choice(("system", "User", "developer", "", None))
    content: Any = _text(rng)
    if rng.random() < 0.3:
        content = [_part(rng) for _ in range(rng.choice((1, 1, 2, 4)))]
    return {"role": role, "content": content}


def _part(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("text", "text", "image", "image_url"))
    if kind == "text":
        return {"type": "text", "text": _text(rng)}
    picture = rng.choice(PICTURES)
    if rng.random() < 0.2:
        picture = rng.choice(_IN_BYTES)(rng, picture)
    data = base64.b64encode(picture).decode()
    kinds = ("image/png", "image/jpeg", "text/html", "", "image/png;charset=utf-8", "image/svg+xml")
    url = f"data:{rng.choice(kinds)};base64,{data}"
    if rng.random() < 0.15:
        url = rng.choice(_URLS)
    if kind == "image_url":
        return {"type": kind, "image_url": {"url": url, "detail": "high"}}
    if rng.random() < 0.9:
        return {"type": kind, **rng.choice(({"data": data}, {"url": url}))}
    return {"type": kind, **rng.choice(({"data": data, "url": url}, {"data": CANARY}, {"data": ""}))}


_URLS: tuple[str, ...] = (
    "https://example.invalid/a.png",
    "file:///etc/passwd",
    "data:",
    "data:,",
    f"data:image/png,{CANARY}",
)
_URLS += ("http://[::1", "//", CANARY * 50, "https://" + "a" * 9000, "DATA:;BASE64,AAAA")


def _text(rng: random.Random) -> str:
    pieces = [rng.choice((words, words, lambda rng: rng.choice(TEXTS)))(rng) for _ in range(rng.choice((1, 1, 2, 4)))]
    return rng.choice(("", " ", "\n\n")).join(pieces)


# -- accidents --------------------------------------------------------------------------------------------------------


def _with_an_accident(rng: random.Random, document: Any) -> Any:
    """Something is lost, doubled, or of another kind, at any place of the document."""
    if not isinstance(document, dict | list) or not document or rng.random() < 0.15:
        return rng.choice(WEIRD)
    copy: Any = dict(document) if isinstance(document, dict) else list(document)
    place = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    match rng.randrange(6):
        case 0:
            del copy[place]
        case 1 if isinstance(copy, dict):
            copy[rng.choice(("role", "content", "type", "", "a" * 5000, CANARY))] = copy[place]
        case 1:
            copy *= rng.choice((2, 3, 200))
        case _:
            copy[place] = _with_an_accident(rng, copy[place])
    return copy


def _as_text(rng: random.Random, document: Any) -> str:
    separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n\t", " :\r\n")))
    return json.dumps(document, ensure_ascii=rng.random() < 0.4, separators=separators)


def _doubled_key(rng: random.Random, text: str) -> str:
    return text.replace('"role"', f'"role":{rng.choice(("null", "7"))},"role"', 1)


def _in_place_of_a_string(rng: random.Random, text: str) -> str:
    puts = (
        "NaN",
        "-Infinity",
        "1e999",
        "1" * 500,
        "-0",
        "0x10",
        "'a'",
        "\\ud83d",
        '"\\ud83d"',
        '"\\ude00\\ud83d"',
        "[" * 300,
    )
    at = text.find('"', rng.randrange(len(text) + 1))
    end = text.find('"', at + 1)
    return text if at < 0 or end < 0 else text[:at] + rng.choice(puts) + text[end + 1 :]


def _half_a_pair(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(("\ud83d", "\ude00", "\\ud83d", "\\uDE00", "\ufeff", "\x00", "\\u0000")) + text[at:]


_IN_TEXT: Sequence[Callable[[random.Random, str], str]] = (_doubled_key, _in_place_of_a_string, _half_a_pair)


def _encoded(rng: random.Random, text: str) -> bytes:
    if rng.random() < 0.94:
        return text.encode("utf-8", "surrogatepass")
    encoding = rng.choice(("utf-16", "utf-32-be", "utf-7", "latin-1", "cp1252", "shift-jis", "gzip"))
    if encoding == "gzip":
        return gzip.compress(text.encode("utf-8", "replace"), mtime=0)
    return text.encode(encoding, "replace")


def _flip(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value)) if value else 0
    return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :] if value else b"x"


def _cut(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] if rng.random() < 0.7 else value[at:]


def _lose(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] + value[at + rng.choice((1, 2, 30)) :]


def _slip_in(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    put = rng.choice(
        (b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x00", b'"', b"{", b"}", b"]", b",", b"\\", b"\xef\xbb\xbf")
    )
    return value[:at] + put + value[at:]


_IN_BYTES: Sequence[Callable[[random.Random, bytes], bytes]] = (_flip, _flip, _cut, _lose, _slip_in)

# -- keys and headers -------------------------------------------------------------------------------------------------


def _key(rng: random.Random) -> bytes | None:
    usual = f"key-{rng.randrange(40)}".encode()
    return rng.choice((usual, usual, usual, usual, None, b"", rng.randbytes(16), b"\xff" * 5000))


def _headers(rng: random.Random) -> Headers:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    some: Headers = (
        ("traceparent", rng.choice((trace, trace.upper(), b"", None, b"\xff" * 55))),
        ("", b"of no name"),
        ("name", None),
        ("name", rng.randbytes(30)),
        ("n" * 3000, b"n"),
        ("\u540d\u524d", "\u5024".encode()),
        ("ce_id", b"somebody else's"),
        # What only the worker writes; a sender may try.
        ("moderation-replay-count", rng.choice((b"1", b"-7", b"many", b"9" * 50, None, b"\xff"))),
        ("moderation-error-type", CANARY.encode()),
        ("moderation-source-offset", b"12"),
        ("moderation-value-left-out", b"true"),
        ("moderation-label", b"safe"),
    )
    return rng.choices(some, k=rng.choice((1, 2, 5))) if rng.random() < 0.3 else ()
