"""Stress: a closed loop that sends events at a rate and waits for every outcome, against workers that run already."""

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, RecordMetadata

from worker.contract.record import header
from worker.contract.verdict import verdict_id_of
from worker.local.stress_tally import StressReport, StressTally
from worker.local.tally import id_of_dead_letter, outcomes_of
from worker.settings import Settings
from worker.standins.corpus import conversation
from worker.stream.kafka.checks import sender_faults
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.topics import describe_topics

_TICK = 0.005  # seconds between two looks at what is due
_REFRESH = 0.5  # seconds


class StressRefused(Exception):
    """A run that cannot begin; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class StressOptions:
    """What to send, and how long to wait."""

    rate: float  # events a second
    seconds: float
    keys: int = 500  # conversations
    wait_seconds: float = 30.0  # for outcomes after the last event, as long as none comes in
    late_seconds: float = 1.0
    seed: int = 0
    at_random: bool = False  # Poisson arrivals instead of even ones


@dataclass(slots=True)
class Stress:
    """One run."""

    settings: Settings
    options: StressOptions
    tally: StressTally = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.tally = StressTally(self.options.late_seconds)
        self.began = time.monotonic()

    async def run(self, refresh: Callable[[], None] = lambda: None) -> StressReport:
        """Sends, waits, and reports; also when it is cancelled in the middle. `refresh` is called twice a second.

        Raises StressRefused where a topic or a right is missing or no broker answers, and what aiokafka raises.
        """
        async with self._outputs() as consumer:
            reading = asyncio.create_task(self._read(consumer))
            showing = asyncio.create_task(_every(_REFRESH, refresh))
            try:
                with suppress(asyncio.CancelledError):  # what came until now is worth a report
                    await self._send()
                    await self._wait(reading)
            finally:
                for task in (reading, showing):
                    task.cancel()
                await asyncio.wait([reading, showing])
        return self.tally.report(time.monotonic() - self.began)

    @asynccontextmanager
    async def _outputs(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer of all output partitions from their ends on."""
        if faults := await sender_faults(self.settings):
            raise StressRefused("; ".join(map(str, faults)))
        topics = await describe_topics(
            self.settings.output_topics,
            bootstrap_servers=self.settings.bootstrap_servers,
            security=security_of(self.settings),
        )
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers, auto_offset_reset="latest", **security_of(self.settings)
        ) as consumer:
            partitions = [
                TopicPartition(name, number)
                for name, topic in topics.items()
                if topic is not None
                for number in range(topic.partitions)
            ]
            consumer.assign(partitions)
            for partition in partitions:
                await consumer.position(partition)  # settled before the first event is sent
            yield consumer

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        outcome_of, clock = outcomes_of(self.settings), time.monotonic() - time.time()
        while True:
            fetched = await consumer.getmany(timeout_ms=100)
            now = time.monotonic()
            for record in (each for records in fetched.values() for each in records):
                if (event := _event_of(record, self.settings.dead_letter_topic)) is not None:
                    decided = _decided(record)
                    self.tally.answered(event, outcome_of[record.topic], now, decided and decided + clock)
            self.tally.forget(now)

    async def _send(self) -> None:
        events = _events(self.options)
        async with AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers, linger_ms=2, **security_of(self.settings)
        ) as producer:
            self.began = time.monotonic()  # a slow connection is not of the time in which it sends
            times = _times(self.options)
            due = next(times)
            while (passed := time.monotonic() - self.began) < self.options.seconds:
                while due <= passed:
                    await self._send_one(producer, *next(events))
                    due = next(times)
                await asyncio.sleep(max(due - passed, 0) if self.options.at_random else _TICK)
            await producer.flush()

    async def _send_one(self, producer: AIOKafkaProducer, key: bytes, value: bytes) -> None:
        at, timestamp = time.monotonic(), int(time.time() * 1000)
        future = await producer.send(self.settings.input_topic, value, key, timestamp_ms=timestamp)

        def confirmed(done: "asyncio.Future[RecordMetadata]") -> None:
            if done.cancelled() or isinstance(done.exception(), KafkaError):
                self.tally.refused += 1
                return
            place = done.result()
            self.tally.sent(verdict_id_of(place.topic, place.partition, place.offset, timestamp), at)

        future.add_done_callback(confirmed)

    async def _wait(self, reading: "asyncio.Task[None]") -> None:
        missing, since = self.tally.missing, time.monotonic()
        while self.tally.missing and not reading.done():
            await asyncio.sleep(0.05)
            if self.tally.missing != missing:
                missing, since = self.tally.missing, time.monotonic()
            elif time.monotonic() - since > self.options.wait_seconds:
                return
        await asyncio.sleep(0.5)  # a second answer to the same event would come now


def _event_of(record: ConsumerRecord, dead_letters: str) -> uuid.UUID | None:
    """The verdict id that an outcome answers; None where it is nothing that a worker wrote."""
    try:
        if record.topic == dead_letters:
            return id_of_dead_letter(record)
        return uuid.UUID((header(record.headers, "ce_id") or b"").decode())
    except ValueError:
        return None


def _decided(record: ConsumerRecord) -> float | None:
    """Seconds since the epoch; None where it does not say."""
    told = header(record.headers, "ce_time")
    return datetime.fromisoformat(told.decode()).timestamp() if told else None


def _events(options: StressOptions) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of events without end, no two with the same content."""
    rng, run, number = random.Random(options.seed), uuid.uuid4().hex[:8], 0
    while True:
        text = conversation(rng, "user", earlier=0)[-1].text
        messages = [{"role": "user", "content": f"{text} ({run}-{number})"}]
        name = f"stress-{run}-{number % options.keys}"
        event = {"event_id": f"stress-{run}-{number}", "conversation_id": name, "messages": messages}
        yield name.encode(), orjson.dumps(event)
        number += 1


def _times(options: StressOptions) -> Iterator[float]:
    """When each event is due, in seconds from the beginning."""
    if not options.at_random:
        yield from (number / options.rate for number in itertools.count())
    rng, at = random.Random(options.seed), 0.0
    while True:
        at += rng.expovariate(options.rate)
        yield at


async def _every(seconds: float, what: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        what()
