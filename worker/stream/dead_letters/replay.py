"""Replay: dead letters go back to the topic that they came from. Where it stands is a consumer group's offsets."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from worker.contract.stored_letter import StoredLetter
from worker.settings import Settings
from worker.stream.dead_letters.replay_position import Membership, ReplayPosition
from worker.stream.dead_letters.selection import Selection
from worker.stream.dead_letters.tally import Tally
from worker.stream.kafka.checks import RECORD_OVERHEAD, record_limits
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.preflight import KafkaNotReady, preflight
from worker.stream.kafka.topic_reader import Chunk, TopicReader, consumer_of, partitions_of

_NO_LIMIT = 1 << 30  # bytes; the topics' own limits count

PAST_LIMIT = "past the replay limit"
VALUE_LEFT_OUT = "value left out, too large for a dead letter"
FROM_OUTPUT = "from an output topic of the worker"
TOO_LARGE = "larger than the topic takes"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is replayed, and how."""

    selection: Selection
    group: str
    """The consumer group whose committed offsets are the position."""
    to: str | None = None
    """A topic instead of each one's own."""
    max_replays: int = 3
    """A dead letter that was replayed so often stays."""
    from_beginning: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class ReplayResult:
    """What became of the dead letters that were read."""

    tally: Tally = field(default_factory=Tally)
    replayed: Counter[str] = field(default_factory=Counter)
    """By the topic they went to, or would go to in a dry run."""
    stayed: Counter[str] = field(default_factory=Counter)
    """Selected and not replayed, by the reason."""
    ended_early: bool = False
    """Whether `stop` was called before everything was read."""


OnLetter = Callable[[StoredLetter, str], None]  # what goes, and the topic it goes to
OnProgress = Callable[[int, int], None]  # offsets read, offsets to read


class Replay:
    """One run."""

    def __init__(
        self, settings: Settings, options: ReplayOptions, on_letter: OnLetter, on_progress: OnProgress
    ) -> None:
        self._settings, self._options = settings, options
        self._on_letter, self._on_progress = on_letter, on_progress
        self._position = ReplayPosition(settings, options.group, options.selection)
        self._limits: dict[str, int] = {}  # topic that can be written to -> bytes of its largest record
        self._read = 0  # offsets
        self._stopping = False
        self.result = ReplayResult()

    def stop(self) -> None:
        """`run` ends after the records that it is at."""
        self._stopping = True

    async def run(self) -> None:
        """Replays up to where the dead letters end now; `result` has what became of them.

        Raises KafkaNotReady, ReplayRefused, KafkaError and TimeoutError; the position is then behind what was replayed
        by one chunk at most.
        """
        partitions = await partitions_of(self._settings, self._settings.dead_letter_topic, self._options.group)
        if not self._options.from_beginning:
            await self._position.check_selection()
        if self._options.dry_run:
            await self._dry_run(partitions)
        else:
            await self._position.check_that_nobody_replays()
            await self._replay(partitions)

    async def _dry_run(self, partitions: list[TopicPartition]) -> None:
        async with consumer_of(self._settings, self._options.group) as consumer:
            consumer.assign(partitions)  # and so the group is not joined
            reader = await self._open(consumer, partitions)
            async for chunk in reader.chunks():
                await self._chosen(chunk)
                if self._ends_after(chunk, reader):
                    return

    async def _replay(self, partitions: list[TopicPartition]) -> None:
        membership = Membership(self._options.group)
        async with self._producer() as producer, consumer_of(self._settings, self._options.group) as consumer:
            consumer.subscribe([self._settings.dead_letter_topic], listener=membership)
            await membership.joined(partitions)
            reader = await self._open(consumer, partitions)
            # All partitions at once: a position is never half of these filters and half of others.
            await self._position.commit(consumer, reader.starts)
            try:
                async for chunk in reader.chunks():
                    async with membership.busy:
                        membership.check()
                        await self._send(producer, consumer, chunk)
                    if self._ends_after(chunk, reader):
                        return
            except (IllegalStateError, CommitFailedError):
                membership.check()  # the group took the partitions between two chunks: it says so in better words
                raise

    async def _open(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> TopicReader:
        if self._options.from_beginning:
            await consumer.seek_to_beginning(*partitions)
        return await TopicReader.open(consumer, partitions, self._options.selection.since_milliseconds)

    async def _send(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, chunk: Chunk) -> None:
        """Replays a chunk and commits its end; on a failure, the end of what was confirmed."""
        chosen, sent = await self._chosen(chunk), []
        confirmed = chunk.start
        try:
            for letter, topic in chosen:
                confirmation = await _hand_over(producer, letter, topic)
                confirmation.add_done_callback(_look_at)
                sent.append((letter, confirmation))
            for letter, confirmation in sent:
                await confirmation
                confirmed = letter.record.offset + 1
            confirmed = chunk.end
        finally:
            if chunk.start < confirmed < chunk.end:
                with contextlib.suppress(KafkaError, TimeoutError):  # what failed first is what is told
                    await self._position.commit(consumer, {chunk.partition: confirmed})
        await self._position.commit(consumer, {chunk.partition: chunk.end})

    async def _chosen(self, chunk: Chunk) -> list[tuple[StoredLetter, str]]:
        """The dead letters of a chunk that are replayed, and their topics. Raises KafkaNotReady where such a topic
        cannot be written to: nothing of the chunk has been sent then."""
        chosen = []
        for record in chunk.records:
            letter = self.result.tally.letter_of(record, self._options.selection)
            if letter is None:
                continue
            topic = self._options.to or letter.told.source_topic
            reason = self._reason_to_stay(letter, topic) or await self._too_large(letter, topic)
            if reason is not None:
                self.result.stayed[reason] += 1
                continue
            self.result.replayed[topic] += 1
            self._on_letter(letter, topic)
            chosen.append((letter, topic))
        return chosen

    def _reason_to_stay(self, letter: StoredLetter, topic: str) -> str | None:
        if letter.replays >= self._options.max_replays:
            return PAST_LIMIT
        if not letter.has_original:
            return VALUE_LEFT_OUT
        if topic in self._settings.written_topics:  # nobody judges there, and the dead letters would never end
            return FROM_OUTPUT
        return None

    async def _too_large(self, letter: StoredLetter, topic: str) -> str | None:
        if topic not in self._limits:
            self._limits[topic] = await self._limit_of(topic)
        return TOO_LARGE if letter.size + RECORD_OVERHEAD > self._limits[topic] else None

    async def _limit_of(self, topic: str) -> int:
        """The largest record of a topic, in bytes. Raises KafkaNotReady where it cannot be written to."""
        faults = await preflight(
            bootstrap_servers=self._settings.bootstrap_servers,
            security=security_of(self._settings),
            group=None,
            reads=[],
            writes=[topic],
        )
        if faults:
            raise KafkaNotReady(faults)
        return (await record_limits(self._settings, [topic])).get(topic, _NO_LIMIT)

    def _ends_after(self, chunk: Chunk, reader: TopicReader) -> bool:
        self._read += chunk.end - chunk.start
        self._on_progress(self._read, reader.total)
        self.result.ended_early = self._stopping and self._read < reader.total
        return self.result.ended_early

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            max_request_size=_NO_LIMIT,
            request_timeout_ms=120_000,
            **security_of(self._settings),
        )


def _look_at(confirmation: "asyncio.Future[object]") -> None:
    """The first failure is told; asyncio would log each of those behind it, which nobody awaits any more."""
    if not confirmation.cancelled():
        confirmation.exception()


async def _hand_over(producer: AIOKafkaProducer, letter: StoredLetter, topic: str) -> "asyncio.Future[object]":
    """To the partition that it came from: the events of its key are there, whichever partitioner put them there. The
    timestamp is a new one, or the topic's retention could delete it before it is read."""
    partition = None
    if topic == letter.told.source_topic and letter.source_partition in await producer.partitions_for(topic):
        partition = letter.source_partition
    key, value = letter.record.key, letter.record.value
    confirmation: asyncio.Future[object] = await producer.send(
        topic,
        b"" if key is None and value is None else value,  # the producer refuses a record with neither
        key,
        partition,
        headers=list(letter.headers_to_replay()),
    )
    return confirmation
