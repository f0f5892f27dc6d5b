"""A rig for tests of the stream: topics of their own, worker processes, what went in and what came out."""

import asyncio
import contextlib
import json
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from worker.contract.record import header
from worker.contract.verdict import verdict_id_of
from worker.local.broker import LocalKafka
from worker.local.workers import WorkerProcess
from worker.stream.kafka.topics import TopicSpec, create_topics, describe_topics

FAKE = ("-m", "tests.stream.fake_worker")
REAL = ("-m", "worker", "run", "--stand-in")
LARGEST = 16 << 20  # bytes of a record in the rigs' topics


def chat_event(text: str, **fields: Any) -> bytes:
    """A chat event of one user message."""
    name = fields.pop("event_id", None) or uuid.uuid4().hex
    messages = [{"role": "user", "content": text}]
    return orjson.dumps({"event_id": name, "conversation_id": "c", "messages": messages, **fields})


class Gate:
    """A file by which a test holds a worker (fake_worker.py) until it opens the gate: so there is a middle to be hit,
    however quick the worker is and however slow the test."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def __str__(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Lets the worker go on."""
        self._path.unlink()


@dataclass
class Rig:
    """Topics, and the settings of workers on them."""

    bootstrap: str
    folder: Path
    outputs: dict[str, str]  # setting -> topic
    input_topic: str
    group: str
    extra: dict[str, str] = field(default_factory=dict)
    places: dict[uuid.UUID, tuple[int, int]] = field(default_factory=dict)  # sent id -> partition, offset

    @property
    def journals(self) -> Path:
        """The directory of its workers' journals."""
        return self.folder / "journals"

    @contextlib.contextmanager
    def worker(
        self, name: str = "worker", command: tuple[str, ...] = FAKE, **settings: object
    ) -> Iterator[WorkerProcess]:
        """A worker process, stopped at the end; what fails meanwhile is told with the end of its log. Upper-case
        keywords are plain variables, others settings."""
        values = {
            "bootstrap_servers": self.bootstrap,
            "input_topic": self.input_topic,
            "group": self.group,
            "journal_dir": self.journals,
        }
        environment = {f"MODERATION_{key.upper()}": str(value) for key, value in {**values, **self.outputs}.items()}
        for key, value in settings.items():
            environment[key if key.isupper() else f"MODERATION_{key.upper()}"] = str(value)
        with WorkerProcess(name, environment, self.folder, command) as process:
            try:
                yield process
            except BaseException as error:
                error.add_note(f"the end of {name}'s log:\n{process.tail()}")
                raise

    async def ready(self, *workers: WorkerProcess, seconds: float = 120) -> None:
        """Returns when all workers are ready."""
        for worker in workers:
            await until(lambda worker=worker: worker.ready(), seconds)

    async def send(self, values: Iterable[tuple[bytes | None, bytes | None]]) -> list[uuid.UUID]:
        """Sends (key, value) pairs; the verdict id of each."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=LARGEST) as producer:
            return await self.send_with(producer, values)

    async def send_with(
        self, producer: AIOKafkaProducer, values: Iterable[tuple[bytes | None, bytes | None]]
    ) -> list[uuid.UUID]:
        """The same with a producer that has started; a transaction of it may be open."""
        now = int(time.time() * 1000)
        sent = [await producer.send(self.input_topic, value, key, timestamp_ms=now) for key, value in values]
        places = [await each for each in sent]
        ids = [verdict_id_of(place.topic, place.partition, place.offset, now) for place in places]
        self.places |= {each: (place.partition, place.offset) for each, place in zip(ids, places, strict=True)}
        return ids

    async def committed(self) -> dict[int, int]:
        """Partition -> the offset that the group has committed; 0 where there is none."""
        return {each: (found or 0) for each, (found, _) in (await self._offsets()).items()}

    async def lag(self) -> dict[int, int]:
        """Partition -> offsets between what is committed and the end, transaction markers included."""
        return {each: end - (found or 0) for each, (found, end) in (await self._offsets()).items()}

    async def members(self) -> int:
        """Workers that the group counts."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            (answer,) = await admin.describe_consumer_groups([self.group])
            return len(answer.groups[0][5])
        finally:
            await admin.close()

    async def no_lag(self) -> None:
        """Returns when everything of the input is committed. Raises TimeoutError."""
        async with asyncio.timeout(120):
            while any((await self.lag()).values()):  # noqa: ASYNC110  # another process commits
                await asyncio.sleep(0.1)

    async def _offsets(self) -> dict[int, tuple[int | None, int]]:
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False
        ) as consumer:
            described = await describe_topics([self.input_topic], bootstrap_servers=self.bootstrap)
            topic = described[self.input_topic]
            assert topic is not None
            partitions = [TopicPartition(self.input_topic, each) for each in range(topic.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            return {each.partition: (await consumer.committed(each), ends[each]) for each in partitions}

    @contextlib.asynccontextmanager
    async def outcomes(self) -> AsyncIterator["Outcomes"]:
        """What comes out, from the beginning."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=LARGEST
        )
        await consumer.start()
        try:
            found = await describe_topics(list(self.outputs.values()), bootstrap_servers=self.bootstrap)
            assert all(found.values()), found
            consumer.assign(
                [
                    TopicPartition(name, each)
                    for name, topic in found.items()
                    if topic
                    for each in range(topic.partitions)
                ]
            )
            yield Outcomes(consumer, {topic: setting.removesuffix("_topic") for setting, topic in self.outputs.items()})
        finally:
            await consumer.stop()


@dataclass
class Outcomes:
    """The output records read so far."""

    consumer: AIOKafkaConsumer
    name_of: Mapping[str, str]
    records: list[ConsumerRecord] = field(default_factory=list)

    async def read(self) -> None:
        """Reads what there is now."""
        fetched = await self.consumer.getmany(timeout_ms=100)
        self.records += [record for records in fetched.values() for record in records]

    async def read_to_end(self) -> None:
        """Reads up to where the output topics end now."""
        ends = await self.consumer.end_offsets(self.consumer.assignment())
        async with asyncio.timeout(120):
            while any([await self.consumer.position(each) < end for each, end in ends.items()]):
                await self.read()

    async def read_what_a_killed_one_left(self) -> None:
        """Reads until the output topics are still: the broker takes what was in a killed worker's sockets later."""
        ends = None
        while ends != (ends := await self.consumer.end_offsets(self.consumer.assignment())):  # noqa: ASYNC110  # remote
            await asyncio.sleep(2)
        await self.read_to_end()

    async def until(self, condition: Callable[["Outcomes"], bool], seconds: float = 120) -> None:
        """Reads until the condition holds. Raises TimeoutError."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    await self.read()
        except TimeoutError:
            raise TimeoutError(f"after {seconds} s there are {len(self.records)} outcomes: {self.counts}") from None

    async def until_answered(self, ids: Iterable[uuid.UUID], seconds: float = 120) -> None:
        """Reads until every id has an outcome, and then what else there is."""
        wanted = set(ids)
        await self.until(lambda outcomes: wanted <= outcomes.ids.keys(), seconds)
        await self.read()

    def only(self, ids: Iterable[uuid.UUID]) -> "Outcomes":
        """What answers these input records, where others share the topics."""
        wanted = set(ids)
        mine = [record for record in self.records if self.id_of(record) in wanted]
        return Outcomes(self.consumer, self.name_of, mine)

    @property
    def ids(self) -> Counter[uuid.UUID]:
        """How often each input record was answered."""
        return Counter(self.id_of(record) for record in self.records)

    @property
    def counts(self) -> Counter[str]:
        """Outcomes by kind: safe, unsafe, review, dead_letter."""
        return Counter(self.name_of[record.topic] for record in self.records)

    def of(self, kind: str) -> list[ConsumerRecord]:
        """The records of one kind, as read."""
        return [record for record in self.records if self.name_of[record.topic] == kind]

    def id_of(self, record: ConsumerRecord) -> uuid.UUID:
        """The id of the input record that an output record answers."""
        if self.name_of[record.topic] != "dead_letter":
            return uuid.UUID((header(record.headers, "ce_id") or b"").decode())
        topic, *numbers = (
            (header(record.headers, f"moderation-source-{name}") or b"").decode()
            for name in ("topic", "partition", "offset", "timestamp")
        )
        return verdict_id_of(topic, *map(int, numbers))


def new_rig(
    kafka: LocalKafka,
    folder: Path,
    *,
    partitions: int = 4,
    output_partitions: int | None = None,
    input_config: Mapping[str, str] | None = None,
) -> Rig:
    """A rig with topics and a group of its own; the outputs have as many partitions as the input where it is not said.
    Not to be called where an event loop runs."""
    name = f"rig-{uuid.uuid4().hex[:8]}"
    large = {"max.message.bytes": str(LARGEST)}
    outputs = {f"{kind}_topic": f"{name}-{kind}" for kind in ("safe", "unsafe", "review", "dead_letter")}
    specs = [TopicSpec(topic, output_partitions or partitions, 1, large) for topic in outputs.values()]
    specs.append(TopicSpec(f"{name}-input", partitions, 1, {**large, **(input_config or {})}))
    results = asyncio.run(create_topics(specs, bootstrap_servers=kafka.bootstrap_servers))
    assert all(result.created for result in results), results
    return Rig(kafka.bootstrap_servers, folder, outputs, f"{name}-input", group=name)


def probe(worker: WorkerProcess, path: str) -> tuple[int, Any]:
    """Status and body of a page: its JSON, or its text. Status 0: nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{path}", timeout=30) as answer:
            status, body = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read().decode()
    except OSError:
        return 0, None
    return status, json.loads(body) if body.startswith("{") else body


def metric(worker: WorkerProcess, name: str) -> float | None:
    """A metric's value; None where the worker does not tell."""
    _, page = probe(worker, "/metrics")
    lines = (line.rpartition(" ") for line in (page or "").splitlines())
    return next((float(value) for found, _, value in lines if found == name), None)


async def stop_in_the_middle(worker: WorkerProcess, gate: Gate) -> int:
    """SIGTERM to a worker that this gate holds, or would soon; it opens when the worker drains. The exit code."""
    worker.signal(signal.SIGTERM)
    await until(lambda: probe(worker, "/readyz")[0] != 200)
    gate.open()
    return await asyncio.to_thread(worker.wait)


async def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Returns when the condition, looked at in a thread, holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # it is about another process
            await asyncio.sleep(0.05)
