"""aiokafka out: each outcome to its topic, confirmed by the broker."""

import asyncio
import random
from dataclasses import replace
from functools import lru_cache

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.headers import verdict_headers
from worker.contract.record import Headers, Record
from worker.contract.verdict import Label, Verdict
from worker.observability import tracing
from worker.settings import Settings
from worker.stream.kafka.connection import security_of
from worker.stream.outbox import Batch, Outbox, Settled
from worker.stream.work import Outcome, Work

log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.002  # records for all partitions leave together: one request for each broker
_SHORT_KEY = 256  # bytes; the partitions of such keys are remembered
_RECORD_OVERHEAD = 128  # bytes at most, of a batch's and a record's own fields
_HEADER_OVERHEAD = 10  # bytes at most, of a header's two lengths


class Publisher:
    """The output topics. Belongs to one event loop."""

    def __init__(self, settings: Settings, settled: Settled) -> None:
        """`settled` is told of works that the broker has the outcomes of, or will not have."""
        self._settled = settled
        self._topics = {
            Label.SAFE: settings.safe_topic,
            Label.UNSAFE: settings.unsafe_topic,
            Label.REVIEW: settings.review_topic,
        }
        self._dead_letters = settings.dead_letter_topic
        self._most_bytes = settings.max_record_bytes
        topics = (*self._topics.values(), self._dead_letters)
        self._outboxes: dict[str, list[Outbox]] = {topic: [] for topic in topics}  # by partition
        self._leaving: list[Outbox] = []
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            compression_type="zstd",  # verdicts take half of lz4's bytes and a fifth of its time: aiokafka's is lz4 -9
            max_batch_size=min(256 << 10, settings.max_record_bytes),  # a topic takes no batch above its largest record
            max_request_size=settings.max_record_bytes,
            request_timeout_ms=120_000,  # a broker that is away for less loses nothing and repeats nothing
            **security_of(settings),
        )

    async def connect(self) -> None:
        """Raises KafkaConnectionError where no broker answers; it may be tried again then."""
        await self._producer.start()

    async def start(self) -> None:
        """Looks the topics' partitions up, once connected."""
        for topic in self._outboxes:
            await self._look_up(topic)

    def send(self, work: Work) -> None:
        """Hands a work's outcome over; those of one key leave in the order of hand-over.

        What is too large to publish shrinks rather than gets lost: a verdict loses the event it carries, then becomes
        a dead letter; a dead letter loses its value and keeps its headers, which say where the record is.
        """
        record = work.record
        topic, key, value, headers = self._packed(work)
        while not self._fits(topic, key, value, headers):
            log.warning(
                "outcome too large to publish", topic=record.topic, partition=record.partition, offset=record.offset
            )
            work.outcome = _smaller(work.outcome, record)
            topic, key, value, headers = self._packed(work)
        outboxes = self._outboxes[topic]
        outboxes[partition_of(key, len(outboxes))].put(key, value, headers, work)

    async def stop(self) -> None:
        """Waits for what has left."""
        await self._producer.stop()

    # -- for the outboxes ---------------------------------------------------------------------------------------------

    def create_batch(self) -> Batch:
        """An empty batch."""
        batch: Batch = self._producer.create_batch()
        return batch

    def leave_soon(self, outbox: Outbox) -> None:
        """Lets it leave together with others: one request for each broker."""
        if not self._leaving:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._leave)
        self._leaving.append(outbox)

    async def carry(self, batch: Batch, topic: str, partition: int) -> None:
        """Returns when the broker has the batch."""
        await self._look_up(topic)
        await (await self._producer.send_batch(batch, topic, partition=partition))

    def _leave(self) -> None:
        leaving, self._leaving = self._leaving, []
        for outbox in leaving:
            outbox.send_off()

    async def _look_up(self, topic: str) -> None:
        """Has an outbox for each partition. The client looks for new ones from time to time; asking it is quick."""
        outboxes, partitions = self._outboxes[topic], await self._producer.partitions_for(topic)
        outboxes += [
            Outbox(self, topic, partition, self._settled) for partition in range(len(outboxes), len(partitions))
        ]

    # -- one record ---------------------------------------------------------------------------------------------------

    def _packed(self, work: Work) -> tuple[str, bytes | None, bytes | None, Headers]:
        """Its topic, and the record's key, value and headers."""
        record, outcome = work.record, work.outcome
        if isinstance(outcome, Verdict):
            carried = record.headers if work.span is None else tracing.carried_on(record.headers, work.span)
            return self._topics[outcome.label], record.key, outcome.to_json(), verdict_headers(outcome, carried)
        assert outcome is not None
        # A record must have a key or a value.
        value = b"" if outcome.value is None and outcome.key is None else outcome.value
        return self._dead_letters, outcome.key, value, list(outcome.headers)

    def _fits(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        size = len(key or b"") + len(value or b"")
        if size < self._most_bytes // 2 and topic != self._dead_letters:  # a verdict's headers are under 5,000 bytes
            return True
        size += sum(_HEADER_OVERHEAD + 3 * len(name) + len(content or b"") for name, content in headers)
        return size + _RECORD_OVERHEAD <= self._most_bytes


def partition_of(key: bytes | None, count: int) -> int:
    """The number that Kafka's own clients choose for a key; any without one."""
    if key is None:
        return random.randrange(count)
    return (_hash(key) if len(key) <= _SHORT_KEY else _long_hash(key)) % count


def _long_hash(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF  # type: ignore[no-any-return]


_hash = lru_cache(1 << 14)(_long_hash)


def _smaller(outcome: Outcome | None, record: Record) -> Outcome:
    assert outcome is not None
    if isinstance(outcome, DeadLetter):
        return outcome.smaller()
    if outcome.event is not None:
        return replace(outcome, event=None)
    cause = Unjudgeable(
        "verdict_too_large", "the verdict is larger than max_record_bytes (its metadata?)", Stage.PUBLISH
    )
    return DeadLetter.of(record, cause)
