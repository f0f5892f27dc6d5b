"""aiokafka out: each outcome to its topic, confirmed by the broker."""

from collections.abc import Awaitable
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.headers import KafkaHeaders, verdict_headers
from worker.contract.record import Headers, Record
from worker.contract.verdict import Label, Verdict
from worker.observability import tracing
from worker.settings import Settings
from worker.stream.connection import security_of

log = structlog.get_logger(__name__)

Outcome = Verdict | DeadLetter


class Sent(NamedTuple):
    """What was handed to the producer: the outcome as it was published, and the broker's confirmation to come."""

    outcome: Outcome
    confirmed: Awaitable[object]


class _Out(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | KafkaHeaders


class Publisher:
    """The output topics."""

    def __init__(self, settings: Settings) -> None:
        self._topics = {
            Label.SAFE: settings.safe_topic,
            Label.UNSAFE: settings.unsafe_topic,
            Label.REVIEW: settings.review_topic,
        }
        self._dead_letters = settings.dead_letter_topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            linger_ms=5,
            max_batch_size=min(256 << 10, settings.max_record_bytes),  # a topic takes no batch above its largest record
            max_request_size=settings.max_record_bytes,
            request_timeout_ms=120_000,  # a broker that is away for less loses nothing and repeats nothing
            **security_of(settings),
        )

    async def start(self) -> None:
        """Connects."""
        await self._producer.start()

    async def send(self, outcome: Outcome, record: Record) -> Sent:
        """Hands an outcome to the producer, which keeps the order of hand-over.

        What is too large to publish shrinks rather than gets lost: a verdict loses the event it carries, then becomes
        a dead letter; a dead letter loses its value and keeps its headers, which say where the record is.
        """
        try:
            return Sent(outcome, await self._hand_over(self._out(outcome, record)))
        except MessageSizeTooLargeError:
            smaller = _smaller(outcome, record)
            log.warning(
                "outcome too large to publish", topic=record.topic, partition=record.partition, offset=record.offset
            )
            return await self.send(smaller, record)

    async def stop(self) -> None:
        """Waits for what was handed over."""
        await self._producer.stop()

    def _out(self, outcome: Outcome, record: Record) -> _Out:
        if isinstance(outcome, Verdict):
            carried = record.headers if tracing.tracer is None else tracing.carried_on(record.headers)
            headers = verdict_headers(outcome, carried)
            return _Out(self._topics[outcome.label], record.key, outcome.to_json(), headers)
        return _Out(self._dead_letters, outcome.key, outcome.value, outcome.headers)

    async def _hand_over(self, out: _Out) -> Awaitable[object]:
        # The producer refuses a record with neither key nor value.
        value = b"" if out.value is None and out.key is None else out.value
        confirmed: Awaitable[object] = await self._producer.send(out.topic, value, out.key, headers=list(out.headers))
        return confirmed


def _smaller(outcome: Outcome, record: Record) -> Outcome:
    if isinstance(outcome, DeadLetter):
        return outcome.smaller()
    if outcome.event is not None:
        return outcome.model_copy(update={"event": None})
    cause = Unjudgeable(
        "verdict_too_large", "the verdict is larger than max_record_bytes (its metadata?)", Stage.PUBLISH
    )
    return DeadLetter.of(record, cause)
