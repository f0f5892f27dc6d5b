"""Records as they lie in Kafka, read byte by byte, for what aiokafka's parser refuses: a header name that is not UTF-8.

Kafka's own brokers take any bytes as the name of a header. aiokafka raises at such a record, time and again, and does
not say where it lies.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers

# base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and greatest timestamp, producer's
# id and epoch, base sequence, count
_BATCH: Final = struct.Struct(">qiibIhiqqqhii")
_PREFIX: Final = struct.Struct(">qi")  # base offset and length, which counts what comes after it
_MAGIC: Final = 2  # the first with headers; Kafka writes no other since 2017
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_HALF: Final = 1 << 63  # of the numbers of 64 bits
_ABORT: Final = b"\0\0"  # the type in a marker's key, behind its version
_DECODE: Final[dict[int, Callable[[bytes], bytes]]] = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as plain values. In the name of a header a byte that is not UTF-8 stands as `\\xff`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    readable: bool
    """Whether its headers are as Kafka's protocol has them."""

    def check(self) -> None:
        """Raises Unjudgeable where it is not readable."""
        if not self.readable:
            raise Unjudgeable("unreadable_record", "the name of one of its headers is not UTF-8", Stage.READ)


@dataclass(frozen=True, slots=True)
class Batch:
    """One record batch. Raises ValueError or struct.error where its bytes are no batch of this format."""

    content: bytes

    @property
    def end(self) -> int:
        """The offset after its last record."""
        fields = _BATCH.unpack_from(self.content)
        return int(fields[0] + fields[6] + 1)

    @property
    def holds_records(self) -> bool:
        """False for the markers of transactions, and for formats older than headers."""
        magic, attributes = self.content[16], _BATCH.unpack_from(self.content)[5]
        return magic == _MAGIC and not attributes & _CONTROL

    @property
    def aborts(self) -> bool:
        """Whether it is the marker that ends its producer's transaction without effect."""
        if not _BATCH.unpack_from(self.content)[5] & _CONTROL:
            return False
        return any((record.key or b"")[2:4] == _ABORT for record in self.records("", 0))

    @property
    def producer(self) -> int | None:
        """The id of the producer whose transaction it belongs to."""
        fields = _BATCH.unpack_from(self.content)
        return int(fields[9]) if fields[5] & _TRANSACTIONAL else None

    @property
    def start(self) -> int:
        """The offset of its first record, were nothing compacted."""
        return int(_PREFIX.unpack_from(self.content)[0])

    def records(self, topic: str, partition: int) -> Iterator[RawRecord]:
        """All of its records, in their order."""
        fields = _BATCH.unpack_from(self.content)
        start, attributes, first, greatest, count = fields[0], fields[5], fields[7], fields[8], fields[12]
        body = self.content[_BATCH.size :]
        if codec := attributes & _CODEC:
            body = bytes(_DECODE[codec](body))
        reader = _Reader(body)
        for _ in range(count):
            delta, offset, key, value, headers = reader.record()
            timestamp = greatest if attributes & _LOG_APPEND_TIME else _as_long(first + delta)
            named = [(name.decode("utf-8", "backslashreplace"), content) for name, content in headers]
            readable = all(_is_utf8(name) for name, _ in headers)
            yield RawRecord(topic, partition, start + offset, timestamp, key, value, named, readable)


def _as_long(number: int) -> int:
    """Past the last number of 64 bits the first one follows, as in all other clients."""
    return (number + _HALF) % (2 * _HALF) - _HALF


def batches_of(content: bytes) -> Iterator[Batch]:
    """The whole batches at the beginning of what a broker answered; it cuts the last one off anywhere."""
    at = 0
    while at + _PREFIX.size <= len(content):
        _, length = _PREFIX.unpack_from(content, at)
        end = at + _PREFIX.size + length
        if end > len(content):
            return
        yield Batch(content[at:end])
        at = end


class _Reader:
    """Reads Kafka's variable-length numbers and what they count. Raises IndexError at the end."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def record(self) -> tuple[int, int, bytes | None, bytes | None, list[tuple[bytes, bytes | None]]]:
        """Timestamp and offset behind the batch's, key, value, headers."""
        length = self.number()
        end = self._at + length
        self._at += 1  # attributes, of which there are none
        timestamp, offset = self.number(), self.number()
        key, value = self.piece(), self.piece()
        headers = [(self.piece() or b"", self.piece()) for _ in range(self.number())]
        self._at = end
        return timestamp, offset, key, value, headers

    def number(self) -> int:
        """A zigzag varint."""
        raw = shift = 0
        while True:
            byte = self._content[self._at]
            self._at += 1
            raw |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return raw >> 1 ^ -(raw & 1)

    def piece(self) -> bytes | None:
        """As many bytes as the number before them says; -1 stands for none."""
        length = self.number()
        if length < 0:
            return None
        self._at += length
        return self._content[self._at - length : self._at]


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
