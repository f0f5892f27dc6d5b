"""Which batch the consumer cannot get past, among those of transactions."""

import struct

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from worker.stream.kafka.raw_records import Batch
from worker.stream.kafka.unreadable import Impasse, _first

PARTITION = TopicPartition("chat.events", 0)
X, Y = 7, 8  # producers
_PLAIN, _CONTROL = -1, 0x20
_ABORT, _COMMIT = b"\0\0\0\0", b"\0\0\0\1"


def batch(start: int, count: int, producer: int = _PLAIN, *, bad: bool = False) -> Batch:
    """Records of a producer, within a transaction of its own; BAD ones have a header's name that is not UTF-8."""
    content = _built(start, producer, [b"key"] * count)
    return Batch(content.replace(b"name", b"n\xff\xfee") if bad else content)


def marker(at: int, producer: int, kind: bytes) -> Batch:
    content = bytearray(_built(at, producer, [kind]))
    (attributes,) = struct.unpack_from(">h", content, 21)
    struct.pack_into(">h", content, 21, attributes | _CONTROL)
    return Batch(bytes(content))


def _built(start: int, producer: int, keys: list[bytes]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2,
        0,
        is_transactional=producer != _PLAIN,
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=9999,
    )
    for number, key in enumerate(keys):
        builder.append(number, timestamp=1, key=key, value=b"value", headers=[("name", b"1")])
    content = builder.build()
    struct.pack_into(">q", content, 0, start)
    return bytes(content)


def places(found: Impasse | None) -> tuple[list[int], int] | None:
    return None if found is None else ([record.offset for record in found.records], found.end)


def test_the_transaction_behind_an_aborted_one_of_the_same_producer_is_not_passed_over() -> None:
    batches = [
        batch(20, 3, X),
        marker(23, X, _ABORT),
        batch(24, 3, X, bad=True),
        marker(27, X, _COMMIT),
        batch(32, 2, bad=True),
    ]
    assert places(_first(batches, [(X, 20)], PARTITION, 20)) == ([24, 25, 26], 27)


def test_what_was_aborted_is_never_handed_over() -> None:
    aborted = [batch(20, 3, X, bad=True), marker(23, X, _ABORT)]
    assert _first(aborted, [(X, 20)], PARTITION, 20) is None
    assert places(_first([*aborted, batch(24, 2, bad=True)], [(X, 20)], PARTITION, 20)) == ([24, 25], 26)


def test_transactions_of_several_producers_lie_side_by_side() -> None:
    batches = [batch(10, 2, X, bad=True), batch(12, 2, Y, bad=True), marker(14, X, _ABORT), marker(15, Y, _COMMIT)]
    assert places(_first(batches, [(X, 10)], PARTITION, 10)) == ([12, 13], 14)


def test_a_producer_that_aborts_twice_is_passed_over_twice() -> None:
    first = [batch(10, 1, X, bad=True), marker(11, X, _ABORT)]
    second = [batch(12, 1, X, bad=True), marker(13, X, _ABORT)]
    third = [batch(14, 1, X, bad=True), marker(15, X, _COMMIT)]
    assert places(_first([*first, *second, *third], [(X, 12), (X, 10)], PARTITION, 10)) == ([14], 15)


def test_a_position_within_the_batch_is_gone_on_from() -> None:
    assert places(_first([batch(10, 4, bad=True)], [], PARTITION, 12)) == ([12, 13], 14)
