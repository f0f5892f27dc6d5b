"""Record batches made byte by byte and sent as they are: what no client library writes, and every broker takes."""

import asyncio
import struct
from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from worker.stream.kafka.cluster import connected

RawRecord = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]], int]
"""Key, value, headers, timestamp."""

CODECS = {"none": None, "gzip": (1, gzip_encode), "snappy": (2, snappy_encode), "lz4": (3, lz4_encode)}
CODECS |= {"zstd": (4, zstd_encode)}
_HEADER, _CRC_AT, _ATTRIBUTES_AT = 61, 17, 21


def batch_of(records: Sequence[RawRecord], codec: str = "none") -> bytes:
    """A record batch. Header names may be any bytes; there is no `~` in anything else."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    names: list[bytes] = []
    for offset, (key, value, headers, timestamp) in enumerate(records):
        names += [name for name, _ in headers]
        holders = [("~" * len(name), each) for name, each in headers]
        assert builder.append(offset, timestamp, key, value, holders) is not None
    whole = bytes(builder.build())
    body = whole[_HEADER:]
    for name in names:  # in their order: the first place holder that is left is this one's
        body = body.replace(b"~" * len(name), name, 1)
    attributes = 0
    if (found := CODECS[codec]) is not None:
        attributes, encode = found
        body = bytes(encode(body))
    head = bytearray(whole[:_HEADER])
    struct.pack_into(">h", head, _ATTRIBUTES_AT, attributes)
    struct.pack_into(">i", head, 8, _HEADER - 12 + len(body))
    struct.pack_into(">I", head, _CRC_AT, calc_crc32c(bytes(head[_ATTRIBUTES_AT:]) + body))
    return bytes(head) + body


async def send_batch(bootstrap: str, topic: str, partition: int, batch: bytes) -> int:
    """Sends it; the offset of its first record."""
    request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, batch)])])
    async with connected(bootstrap, {}) as client, asyncio.timeout(60):
        await client.set_topics([topic])
        while True:
            leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
            answer = await client.send(leader, request)
            (_, ((_, error, offset, *_),)), *_ = answer.topics
            if not error:
                return int(offset)
            if not for_code(error).retriable:
                raise for_code(error)(topic)
            await asyncio.sleep(0.1)  # a topic as new as this has no leader yet
