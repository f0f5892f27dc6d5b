"""A topic, read partition by partition to where it ended at the start; for people's commands."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from worker.settings import Settings
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.preflight import KafkaNotReady, preflight
from worker.stream.kafka.topics import describe_topics

_SILENCE_SECONDS = 60.0  # of the brokers, after which reading is given up
_CHUNK = 500  # records
_POLL_MS = 500


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of one partition, in their order. `start` and `end` are the offsets before and after it; what is
    missing in between is transaction markers and compaction's holes."""

    partition: TopicPartition
    records: Sequence[ConsumerRecord]
    start: int
    end: int


class TopicReader:
    """From the consumer's positions to the ends that the partitions had when `open` was called."""

    def __init__(self, consumer: AIOKafkaConsumer, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]):
        self._consumer = consumer
        self.starts, self._ends = starts, ends

    @classmethod
    async def open(
        cls, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: int | None = None
    ) -> "TopicReader":
        """A reader of assigned partitions that skips what is older than `since`, in milliseconds since the epoch.
        Raises KafkaError and TimeoutError."""
        async with asyncio.timeout(_SILENCE_SECONDS):
            ends = await consumer.end_offsets(partitions)
            if since is not None:
                await _skip_to(consumer, since, ends)
            for each in partitions:
                if await consumer.position(each) > ends[each]:  # the topic was made anew since that was committed
                    await consumer.seek_to_beginning(each)
            return cls(consumer, {each: await consumer.position(each) for each in partitions}, ends)

    @property
    def total(self) -> int:
        """Offsets to read."""
        return sum(max(0, end - self.starts[each]) for each, end in self._ends.items())

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Everything, a partition after the other. Raises KafkaError, and TimeoutError where no broker answers."""
        for partition, end in sorted(self._ends.items()):
            position = self.starts[partition]
            while position < end:
                chunk = await self._next(partition, position, end)
                yield chunk
                position = chunk.end

    async def _next(self, partition: TopicPartition, start: int, end: int) -> Chunk:
        async with asyncio.timeout(_SILENCE_SECONDS):
            while True:
                found = await self._consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=_CHUNK)
                position = await self._consumer.position(partition)
                if position > start:
                    records = [record for record in found.get(partition, ()) if record.offset < end]
                    return Chunk(partition, records, start, min(position, end))


async def _skip_to(consumer: AIOKafkaConsumer, timestamp: int, ends: dict[TopicPartition, int]) -> None:
    """To the first record of each partition that is not older; what lies behind it may be older again."""
    found = await consumer.offsets_for_times(dict.fromkeys(ends, timestamp))
    for partition, end in ends.items():
        first = found.get(partition)
        offset = end if first is None else first.offset
        if offset > await consumer.position(partition):
            consumer.seek(partition, offset)


def consumer_of(settings: Settings, group: str | None = None) -> AIOKafkaConsumer:
    """A consumer for people's commands: it commits nothing by itself."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        rebalance_timeout_ms=60_000,
        **security_of(settings),
    )


async def partitions_of(settings: Settings, topic: str, group: str | None = None) -> list[TopicPartition]:
    """The partitions of a topic. Raises KafkaNotReady where it is not there or may not be read, or the group may not be
    used."""
    security = security_of(settings)
    faults = await preflight(
        bootstrap_servers=settings.bootstrap_servers, security=security, group=group, reads=[topic], writes=[]
    )
    if faults:
        raise KafkaNotReady(faults)
    found = await describe_topics([topic], bootstrap_servers=settings.bootstrap_servers, security=security)
    described = found[topic]
    return [TopicPartition(topic, each) for each in range(described.partitions if described else 0)]


@asynccontextmanager
async def reading(settings: Settings, topic: str, since: int | None = None) -> AsyncIterator[TopicReader]:
    """A reader of the whole topic, or of what is not older than `since` (milliseconds since the epoch), which leaves no
    trace: no group, no commit. Raises KafkaNotReady, KafkaError and TimeoutError."""
    partitions = await partitions_of(settings, topic)
    async with consumer_of(settings) as consumer:
        consumer.assign(partitions)
        yield await TopicReader.open(consumer, partitions, since)


async def record_at(settings: Settings, place: TopicPartition, offset: int) -> ConsumerRecord | None:
    """One record of a topic; None where none has this place. Raises KafkaNotReady, KafkaError and TimeoutError."""
    if place not in await partitions_of(settings, place.topic):
        return None
    async with consumer_of(settings) as consumer, asyncio.timeout(_SILENCE_SECONDS):
        consumer.assign([place])
        firsts, ends = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
        if not firsts[place] <= offset < ends[place]:
            return None
        consumer.seek(place, offset)
        while await consumer.position(place) <= offset:
            found = await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=1)
            for record in found.get(place, ()):
                return record if record.offset == offset else None
        return None
