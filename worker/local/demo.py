"""The demo: a real Kafka, two workers, sample events, and the proof that every one of them was answered."""

import asyncio
import contextlib
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord, RecordMetadata
from rich.console import Console

from worker.contract.verdict import verdict_id_of
from worker.local.broker import LocalKafka
from worker.local.demo_view import DemoView
from worker.local.kafka import local_kafka
from worker.local.tally import Tally, outcomes_of
from worker.local.traffic import POLICIES_TOML, Sample, sample_traffic
from worker.local.workers import WorkerProcess
from worker.settings import STAND_IN, Settings
from worker.stream.kafka.topics import TopicSpec, create_topics

_PARTITIONS = 4
_WORKERS = 2
_READY_SECONDS = 180
_QUIET_SECONDS = 60  # without any outcome the demo gives up
_PAUSE = 0.005  # seconds between two sample events


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a user may choose."""

    bootstrap: str | None = None  # a Kafka that runs already
    keep: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    sample: Sample
    at: float  # seconds, monotonic
    timestamp_ms: int


def run_demo(options: DemoOptions, console: Console) -> bool:
    """Runs the demo; whether in = safe + unsafe + review + dead letters. Raises KafkaUnavailable, WorkerDied,
    TimeoutError."""
    view = DemoView(console)
    with local_kafka(options.bootstrap, say=view.say) as kafka:
        view.say(kafka.describe())
        with tempfile.TemporaryDirectory(prefix="moderation-demo-") as folder, contextlib.ExitStack() as stack:
            environment = _environment(kafka, Path(folder), own=options.bootstrap is None)
            settings = _settings_of(environment)
            asyncio.run(_create_topics(settings))
            view.say(f"starting {_WORKERS} workers with the stand-ins; their logs are in {folder}")
            workers = [
                stack.enter_context(WorkerProcess(f"worker-{number}", environment, Path(folder)))
                for number in range(1, _WORKERS + 1)
            ]
            tally = asyncio.run(_stream(settings, workers, sample_traffic(options.seed), view))
            view.summary(tally, workers)
            if options.keep:
                view.how_to_go_on(settings, workers)
                _wait_for_interrupt()
    return tally.holds


def _environment(kafka: LocalKafka, folder: Path, *, own: bool) -> dict[str, str]:
    """The workers' settings. On a Kafka of somebody else, topics and group have names that disturb nobody."""
    policies = folder / "policies.toml"
    policies.write_text(POLICIES_TOML, encoding="utf-8")
    values = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "llama_guard_model": STAND_IN,
        "prompt_guard_model": STAND_IN,
        "policies_file": str(policies),
        "torch_threads": "1",
        "prepare_threads": "1",
        "llama_guard_batch_tokens": "8192",
    }
    if not own:
        prefix = f"demo-{uuid.uuid4().hex[:6]}."
        names = ("input_topic", "safe_topic", "unsafe_topic", "review_topic", "dead_letter_topic", "group")
        values |= {name: prefix + str(Settings.model_fields[name].default) for name in names}
    return {f"MODERATION_{name.upper()}": value for name, value in values.items()}


def _settings_of(environment: dict[str, str]) -> Settings:
    values = {name.removeprefix("MODERATION_").lower(): value for name, value in environment.items()}
    return Settings.model_validate(values)


async def _create_topics(settings: Settings) -> None:
    specs = [TopicSpec(name, _PARTITIONS, 1) for name in (settings.input_topic, *settings.output_topics)]
    for result in await create_topics(specs, bootstrap_servers=settings.bootstrap_servers):
        if result.topic is None:
            raise RuntimeError(str(result))


async def _stream(
    settings: Settings, workers: Sequence[WorkerProcess], samples: Sequence[Sample], view: DemoView
) -> Tally:
    await _all_ready(workers, view)
    view.say(f"sending {len(samples)} chat events to {settings.input_topic}")
    tally = Tally(outcomes_of(settings), wanted=len(samples))
    async with _consumer(settings) as consumer:
        moving = [asyncio.create_task(_read(consumer, tally)), asyncio.create_task(_send(settings, samples, tally))]
        try:
            with view.live(tally, workers, len(samples)) as refresh:
                await _until_complete(tally, workers, moving, refresh)
        finally:
            for task in moving:
                task.cancel()
            await asyncio.wait(moving)
    return tally


async def _all_ready(workers: Sequence[WorkerProcess], view: DemoView) -> None:
    began = time.monotonic()
    async with asyncio.timeout(_READY_SECONDS):
        for worker in workers:
            # Another process: there is no event to wait for.
            while not await asyncio.to_thread(worker.ready):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    view.say(f"the workers are ready after {time.monotonic() - began:.1f} s")


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all output partitions from their ends on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="latest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for topic in settings.output_topics for n in range(_PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            await consumer.position(partition)  # settled before the first event is sent
        yield consumer
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, tally: Tally) -> None:
    early: list[tuple[ConsumerRecord, float]] = []  # an answer may overtake the confirmation of its question
    while True:
        fetched = await consumer.getmany(timeout_ms=100)
        read = early + [(record, time.monotonic()) for records in fetched.values() for record in records]
        early = [(record, at) for record, at in read if not tally.seen(record, at)]
        tally.unknown = len(early)


async def _send(settings: Settings, samples: Sequence[Sample], tally: Tally) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, linger_ms=2)
    await producer.start()
    try:
        async with asyncio.TaskGroup() as group:
            for sample in samples:
                sent = _Sent(sample, time.monotonic(), timestamp_ms=int(time.time() * 1000))
                confirmed = await producer.send(
                    settings.input_topic, sample.value, sample.key, timestamp_ms=sent.timestamp_ms
                )
                group.create_task(_note(confirmed, sent, tally))
                await asyncio.sleep(_PAUSE)
    finally:
        await producer.stop()


async def _note(confirmed: Awaitable[RecordMetadata], sent: _Sent, tally: Tally) -> None:
    where = await confirmed
    # Not where.timestamp: aiokafka answers the first one of a batch for all of it.
    record_id = verdict_id_of(where.topic, where.partition, where.offset, sent.timestamp_ms)
    tally.sent_record(record_id, sent.sample, sent.at)


async def _until_complete(
    tally: Tally, workers: Sequence[WorkerProcess], moving: Sequence["asyncio.Task[None]"], refresh: Callable[[], None]
) -> None:
    answered, since = -1, time.monotonic()
    while len(tally.sent) < tally.wanted or tally.missing:
        for worker in workers:
            worker.check()
        for task in moving:
            if task.done():
                task.result()  # raises what went wrong in it
        await asyncio.sleep(0.2)
        await asyncio.to_thread(refresh)
        if len(tally.outcomes) != answered:
            answered, since = len(tally.outcomes), time.monotonic()
        elif time.monotonic() - since > _QUIET_SECONDS:
            return  # the summary says what is missing
    await asyncio.sleep(0.5)  # a second answer to the same record would come now
    refresh()


def _wait_for_interrupt() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
