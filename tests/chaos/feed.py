"""The sender of a storm, and what its topic says was sent.

What was appended is known from the topic alone: a sender that tries again after a broker's death may append an event
twice, and then both are input records.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, RecordMetadata

from tests.chaos.events import Event
from tests.chaos.ledger import Asked
from tests.chaos.plan import Form
from tests.stream.rig import Rig
from worker.contract.record import header
from worker.contract.verdict import verdict_id_of
from worker.stream.kafka.topics import describe_topics

COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "200"}
_CHUNK = 100  # events between two looks at how far the workers are; also those of a transaction
_NUMBER = "storm-number"  # the header that says which event a record is
_MOST_TRIES = 10

Room = Callable[[int], Awaitable[None]]
"""Returns when so many events may be sent altogether."""


class Sender:
    """Sends events one by one, whatever happens to the broker."""

    def __init__(self, rig: Rig, producer: AIOKafkaProducer) -> None:
        """`producer` has started."""
        self._rig, self._producer = rig, producer
        self.asked: dict[UUID, Asked] = {}  # what may have been compacted away meanwhile
        self.aborts = 0  # transactions

    async def send(self, events: Iterable[Event], room: Room) -> None:
        """Sends all events, each time as many as there is room for. Raises KafkaError where the broker stays away."""
        sent = 0
        for chunk in _chunks(events):
            await room(sent + len(chunk))
            await self._send_chunk(chunk)
            sent += len(chunk)

    async def _send_chunk(self, chunk: list[Event]) -> None:
        left = chunk
        for _ in range(_MOST_TRIES):
            futures = [await self._hand_over(event) for event in left]
            results = await asyncio.gather(*futures, return_exceptions=True)
            left = [event for event, result in zip(left, results, strict=True) if isinstance(result, BaseException)]
            if not left:
                return
        raise KafkaError(f"{len(left)} events were refused {_MOST_TRIES} times")

    async def _hand_over(self, event: Event, now: int | None = None) -> "asyncio.Future[RecordMetadata]":
        headers = [(_NUMBER, str(event.number).encode())]
        future: asyncio.Future[RecordMetadata] = await self._producer.send(
            self._rig.input_topic, event.value, event.key, headers=headers, timestamp_ms=now
        )
        return future


class Transactions(Sender):
    """Sends in transactions, some of them aborted; what was in these is sent again in the next one."""

    def __init__(self, rig: Rig, producer: AIOKafkaProducer, form: Form, seed: int) -> None:
        """`producer` is a transactional one."""
        super().__init__(rig, producer)
        self._aborted, self._rng = form.aborted, random.Random(f"transactions {seed}")

    async def write_history(self, events: list[Event]) -> int:
        """Sends these, waits until the broker has removed half of them, and has it remove no more; how many are left.
        Raises TimeoutError."""
        await self.send(events, _no_limit)
        async with asyncio.timeout(180):
            while (left := len(await asked_of(self._rig, {event.number: event for event in events}))) > len(events) / 2:
                await self._send_one(events[:200], commits=False)  # closes segments: only closed ones are compacted
                await asyncio.sleep(0.5)
        await _alter(self._rig, {**COMPACTED, "min.compaction.lag.ms": str(24 * 3_600_000)})
        return left

    async def _send_chunk(self, chunk: list[Event]) -> None:
        while self._rng.random() < self._aborted:
            await self._send_one(chunk, commits=False)
        await self._send_one(chunk, commits=True)

    async def _send_one(self, events: list[Event], *, commits: bool) -> None:
        await self._producer.begin_transaction()
        now = int(time.time() * 1000)
        places = await asyncio.gather(*[await self._hand_over(event, now) for event in events])
        if not commits:
            self.aborts += 1
            await self._producer.abort_transaction()
            return
        await self._producer.commit_transaction()
        for event, place in zip(events, places, strict=True):
            name = verdict_id_of(place.topic, place.partition, place.offset, now)
            self.asked[name] = Asked(
                name, event.number, event.key, place.partition, place.offset, event.wanted, needed=False
            )


@asynccontextmanager
async def sender(rig: Rig, form: Form, seed: int) -> AsyncIterator[Sender]:
    """The sender that a form asks for."""
    options: dict[str, Any] = {"enable_idempotence": True, "linger_ms": 2, "request_timeout_ms": 60_000}
    if form.aborted:
        options["transactional_id"] = f"{rig.group}-sender"
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap, **options) as producer:
        yield Transactions(rig, producer, form, seed) if form.aborted else Sender(rig, producer)


async def asked_of(rig: Rig, events: Mapping[int, Event]) -> dict[UUID, Asked]:
    """The input records by verdict id, as a reader of committed ones finds them in the topic now."""
    asked: dict[UUID, Asked] = {}
    async for record in _readable(rig):
        event = events[int(header(record.headers, _NUMBER) or b"")]
        name = verdict_id_of(record.topic, record.partition, record.offset, record.timestamp)
        asked[name] = Asked(name, event.number, record.key, record.partition, record.offset, event.wanted)
    return asked


async def _readable(rig: Rig) -> AsyncIterator[ConsumerRecord]:
    described = (await describe_topics([rig.input_topic], bootstrap_servers=rig.bootstrap))[rig.input_topic]
    assert described is not None
    async with AIOKafkaConsumer(
        bootstrap_servers=rig.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        partitions = [TopicPartition(rig.input_topic, number) for number in range(described.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        async with asyncio.timeout(300):
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    for record in records:
                        yield record


async def _alter(rig: Rig, config: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, rig.input_topic, config)])
    finally:
        await admin.close()


async def _no_limit(_: int) -> None:
    return


def _chunks(events: Iterable[Event]) -> Iterator[list[Event]]:
    each = iter(events)
    while chunk := list(islice(each, _CHUNK)):
        yield chunk
