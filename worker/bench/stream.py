"""What the stream costs: the worker with free guards against a plain aiokafka loop, in turn, on one Kafka."""

import asyncio
import logging
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from worker.local.kafka import local_kafka
from worker.local.stress import Stress, StressOptions
from worker.local.stress_tally import StressReport
from worker.local.workers import WorkerProcess
from worker.settings import ENV_PREFIX, Settings
from worker.stream.kafka.topics import TopicSpec, create_topics

PARTITIONS = 4
STEADY_RATE, STEADY_SECONDS = 1000.0, 20.0  # events a second, and how long, for the latency
WARM_SECONDS = 10.0
LOOK_SECONDS = 0.02
PLAIN_TIMES = 4  # as many events for the plain loop: else it is done in a second, half of it its start
OUTPUTS = ("safe_topic", "unsafe_topic", "review_topic", "dead_letter_topic")


class MeasurementFailed(Exception):
    """What was measured says nothing; the message says why."""


def event(number: int) -> bytes:
    """A chat event of about 200 bytes."""
    text = f"hello, this is message {number} of a friendly conversation about gardens and bicycles"
    messages = [{"role": "user", "content": text}]
    return orjson.dumps({"event_id": f"e{number}", "conversation_id": f"c{number % 500}", "messages": messages})


async def fill(bootstrap: str, topic: str, count: int) -> None:
    """Puts the events into the input topic."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=256 << 10)
    await producer.start()
    for number in range(count):
        await producer.send(topic, event(number), f"c{number % 500}".encode())
    await producer.stop()


@asynccontextmanager
async def counter(bootstrap: str, topics: list[str]) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """What tells how many records are in these topics so far. It is asked all the time, so it is one consumer: to
    connect anew takes as much of the cores as some hundred events, and they are the measured process's."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    partitions = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]

    async def count() -> int:
        return sum((await consumer.end_offsets(partitions)).values())

    await consumer.start()
    try:
        yield count
    finally:
        await consumer.stop()


async def timed(bootstrap: str, outputs: list[str], count: int, process: WorkerProcess) -> float:
    """Events/s from the first to the last output record. The process must be alive all the time (WorkerDied)."""
    began, first = None, 0
    async with counter(bootstrap, outputs) as so_far:
        while True:
            done = await so_far()
            if done and began is None:
                began, first = time.perf_counter(), done
            if began is not None and done >= count:
                if done == first:
                    raise MeasurementFailed(f"{count} events were through before the first look: measure more of them")
                return (done - first) / (time.perf_counter() - began)
            process.check()
            await asyncio.sleep(LOOK_SECONDS)


async def new_settings(bootstrap: str) -> dict[str, str]:
    """Topics of a run's own, and the worker's settings for them."""
    run = uuid.uuid4().hex[:8]
    topics = {name: f"bench-{run}-{name}" for name in ("input_topic", *OUTPUTS)}
    await create_topics([TopicSpec(name, PARTITIONS, 1) for name in topics.values()], bootstrap_servers=bootstrap)
    return {"bootstrap_servers": bootstrap, "group": run, "web_port": "0", "log_level": "warning", **topics}


@contextmanager
def side(kind: str, settings: Mapping[str, str]) -> Iterator[WorkerProcess]:
    """A process of stream_sides.py."""
    environment = {f"{ENV_PREFIX}{name.upper()}": value for name, value in settings.items()}
    command = ("-m", "worker.bench.stream_sides", kind)
    with TemporaryDirectory(prefix="bench-") as logs, WorkerProcess(kind, environment, Path(logs), command) as process:
        yield process


async def measure(bootstrap: str, kind: str, count: int) -> float:
    """One round of one kind, on topics of its own."""
    settings = await new_settings(bootstrap)
    await fill(bootstrap, settings["input_topic"], count)
    with side(kind, settings) as process:
        return await timed(bootstrap, [settings[name] for name in OUTPUTS], count, process)


async def latency(bootstrap: str, kind: str) -> StressReport:
    """From an event's sending to the reading of its answer, at a steady rate.

    Raises WorkerDied, and MeasurementFailed where an event is without an answer.
    """
    settings = await new_settings(bootstrap)
    chosen = Settings.model_validate(settings)
    with side(kind, settings) as process:
        # Until it runs, and is warm: a broker's first thousands of requests take several times as long.
        await Stress(chosen, StressOptions(rate=STEADY_RATE, seconds=WARM_SECONDS)).run()
        report = await Stress(chosen, StressOptions(rate=STEADY_RATE, seconds=STEADY_SECONDS)).run()
        process.check()
    if report.lost or not report.sent:
        raise MeasurementFailed(f"{kind}: of {report.sent} events {report.lost} were without an answer")
    return report


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Medians over the rounds. Quote the ratio: absolute numbers are the machine's."""

    ratio: float  # worker / plain loop
    worker_events_per_second: float
    plain_events_per_second: float
    events: int
    rounds: int
    latency_events_per_second: float
    latency_p50_ms: float  # where a batch of the guards takes 5 ms
    latency_p99_ms: float
    plain_latency_p50_ms: float  # of an answer without any worker: the sender's, Kafka's and the reader's own time
    plain_latency_p99_ms: float


def bench_stream(bootstrap: str | None, events: int, rounds: int, say: Callable[[str], None]) -> StreamResult:
    """Both sides in turn, on the Kafka at `bootstrap` or one that is started.

    Raises KafkaUnavailable, WorkerDied, MeasurementFailed.
    """
    # It tells of topics whose brokers hear of them a moment after their metadata does; what fails is raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with local_kafka(bootstrap, say=say) as kafka:
        found = []
        for number in range(rounds if bootstrap else rounds + 1):
            plain = asyncio.run(measure(kafka.bootstrap_servers, "plain", events * PLAIN_TIMES))
            worker = asyncio.run(measure(kafka.bootstrap_servers, "worker", events))
            bare = asyncio.run(latency(kafka.bootstrap_servers, "answering"))
            steady = asyncio.run(latency(kafka.bootstrap_servers, "slow"))
            found.append((plain, worker, bare, steady))
            say(
                f"round {number + bool(bootstrap)}: plain loop {plain:,.0f} events/s, p50 {bare.p50_ms} ms, p99 "
                f"{bare.p99_ms} ms; worker {worker:,.0f} events/s, p50 {steady.p50_ms} ms, p99 {steady.p99_ms} ms"
            )
    counted = found[-rounds:]  # a broker that was just started is slow for its first minute: its round 0 does not count
    plains, workers, bares, steadies = zip(*counted, strict=True)
    return StreamResult(
        ratio=statistics.median(worker / plain for plain, worker in zip(plains, workers, strict=True)),
        worker_events_per_second=statistics.median(workers),
        plain_events_per_second=statistics.median(plains),
        events=events,
        rounds=rounds,
        latency_events_per_second=statistics.median(steady.answered_per_second for steady in steadies),
        latency_p50_ms=_median(steady.p50_ms for steady in steadies),
        latency_p99_ms=_median(steady.p99_ms for steady in steadies),
        plain_latency_p50_ms=_median(bare.p50_ms for bare in bares),
        plain_latency_p99_ms=_median(bare.p99_ms for bare in bares),
    )


def _median(latencies: Iterable[float | None]) -> float:
    return statistics.median(each for each in latencies if each is not None)  # None: without any answer, so not here
