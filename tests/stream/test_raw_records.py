"""Records read byte by byte: what aiokafka refuses is found, whatever stands around it."""

import struct

import pytest
from aiokafka.record.memory_records import MemoryRecords

from tests.stream.raw_batches import CODECS, RawRecord, batch_of
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Unjudgeable
from worker.contract.record import header
from worker.stream.kafka.raw_records import batches_of

BAD = b"caf\xe9"  # as an old system in Latin-1 would name it
GOOD: list[RawRecord] = [
    (b"k", b"value", [(b"trace", b"1"), ("ü".encode(), None)], 1_700_000_000_000),
    (None, None, [], 1_700_000_000_500),
    (b"", b"x" * 3000, [(b"", b"")], 1_600_000_000_000),
]
UNREADABLE: RawRecord = (b"key", b'{"a": 1}', [(b"fine", b"\xff"), (BAD, None), (BAD, b"2")], 1_700_000_000_007)


@pytest.mark.parametrize("codec", CODECS)
def test_the_unreadable_record_is_found_with_all_that_it_holds(codec: str) -> None:
    content = batch_of(GOOD, codec) + batch_of([*GOOD, UNREADABLE, *GOOD], codec)
    first, second = batches_of(content + content[:40])  # a broker cuts the last one off
    assert (first.start, first.end, second.end) == (0, 3, 7)
    assert [record.readable for record in first.records("t", 2)] == [True] * 3
    assert [record.readable for record in second.records("t", 2)] == [True] * 3 + [False] + [True] * 3
    found = list(second.records("t", 2))[3]
    assert (found.topic, found.partition, found.offset, found.timestamp) == ("t", 2, 3, 1_700_000_000_007)
    assert (found.key, found.value) == (b"key", b'{"a": 1}')
    assert found.headers == [("fine", b"\xff"), ("caf\\xe9", None), ("caf\\xe9", b"2")]


@pytest.mark.parametrize("codec", CODECS)
def test_readable_records_are_read_as_aiokafka_reads_them(codec: str) -> None:
    content = batch_of(GOOD, codec)
    batch = MemoryRecords(content).next_batch()
    assert batch is not None
    theirs = [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in batch]
    ours = next(batches_of(content)).records("t", 0)
    assert [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in ours] == theirs


def test_past_the_last_time_comes_the_first_one() -> None:
    """As in all other clients; a time of more than 64 bits could not even be named in the journal."""
    batch = bytearray(batch_of([(b"k", b"v", [], 1), (b"k", b"v", [], 3)]))
    struct.pack_into(">q", batch, 27, (1 << 63) - 2)  # the first one's
    ours = next(batches_of(bytes(batch))).records("t", 0)
    theirs = MemoryRecords(bytes(batch)).next_batch()
    assert theirs is not None
    assert [each.timestamp for each in ours] == [each.timestamp for each in theirs] == [(1 << 63) - 2, -(1 << 63)]


def test_aiokafka_still_refuses_it() -> None:
    """Should this fail one day, worker/stream/unreadable.py is no longer needed."""
    batch = MemoryRecords(batch_of([*GOOD, UNREADABLE])).next_batch()
    assert batch is not None
    with pytest.raises(UnicodeDecodeError):
        list(batch)


def test_it_becomes_a_dead_letter_that_keeps_everything() -> None:
    (found,) = next(batches_of(batch_of([UNREADABLE]))).records("t", 0)
    with pytest.raises(Unjudgeable) as raised:
        found.check()
    letter = DeadLetter.of(found, raised.value)
    assert (letter.key, letter.value, letter.error_type) == (b"key", b'{"a": 1}', "unreadable_record")
    assert header(letter.headers, "caf\\xe9") == b"2"
    assert header(letter.headers, "moderation-source-offset") == b"0"
