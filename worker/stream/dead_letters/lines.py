"""Dead letters for people and for machines: a line each, or one in full. Pure.

Everything in them was written by strangers: what a terminal would obey is escaped.
"""

import contextlib
from collections.abc import Iterator

import orjson

from worker.contract.record import Record
from worker.contract.stored_letter import StoredLetter
from worker.stream.dead_letters.selection import iso

COLUMNS = f"{'place':<12}  {'when':<24}  {'cause':<20}  {'stage':<8}  {'replays':>7}  {'bytes':>8}  source"


def text_line(letter: StoredLetter) -> str:
    """Under COLUMNS; places are partition/offset. Never content."""
    record, told = letter.record, letter.told
    place = f"{record.partition}/{record.offset}"
    source = f"{told.source_topic}/{letter.source_partition}/{letter.source_offset}"
    return printable(
        f"{place:<12}  {iso(record.timestamp):<24}  {told.error_type:<20}  {told.error_stage:<8}  "
        f"{letter.replays:>7}  {letter.size:>8}  {source}"
    )


def json_line(letter: StoredLetter) -> str:
    """One JSON object. Never content."""
    record, told = letter.record, letter.told
    source = {
        "topic": told.source_topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "timestamp": iso(letter.source_timestamp),
    }
    return orjson.dumps(
        {
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": iso(record.timestamp),
            "cause": told.error_type,
            "message": told.error_message,
            "stage": told.error_stage,
            "source": source,
            "replays": letter.replays,
            "bytes": letter.size,
            "value_left_out": not letter.has_original,
        }
    ).decode()


def described(record: Record, *, content: bool) -> Iterator[str]:
    """The lines of `dead-letters show`; key and value themselves only with `content`."""
    yield f"place      {record.topic}/{record.partition}/{record.offset}, {iso(record.timestamp)}"
    letter = StoredLetter.of(record)
    if letter is None:
        yield "           without the headers of a dead letter: somebody else wrote it"
        headers = list(record.headers)
    else:
        told = letter.told
        yield printable(f"cause      {told.error_type}: {told.error_message}")
        yield printable(f"stage      {told.error_stage}")
        place = f"{told.source_topic}/{letter.source_partition}/{letter.source_offset}"
        yield printable(f"source     {place}, {iso(letter.source_timestamp)}")
        yield f"replays    {letter.replays}"
        headers = list(letter.original_headers)
    yield f"key        {_size(record.key)}"
    left_out = letter is not None and not letter.has_original
    yield f"value      {_size(record.value)}{' (left out: too large for a dead letter)' if left_out else ''}"
    yield f"headers    {len(headers)}{'' if letter is None else ', as the record came'}"
    yield from (f"  {printable(name)}: {printable(_text(value))}" for name, value in headers)
    if content:
        yield from ("", "key:", _text(record.key), "", "value:", _text(record.value))


def printable(text: str) -> str:
    """The same text on one line, without what a terminal would obey."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _size(value: bytes | None) -> str:
    return "none" if value is None else f"{len(value)} bytes"


def _text(value: bytes | None) -> str:
    """Bytes for people: JSON indented, other text as it is, bytes that are no text escaped."""
    if value is None:
        return "none"
    if value[:1] in (b"{", b"["):
        with contextlib.suppress(orjson.JSONDecodeError):
            value = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2)
    return "\n".join(map(printable, value.decode("utf-8", "backslashreplace").split("\n")))
