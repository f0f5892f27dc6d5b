"""An event's span: OpenTelemetry's conventions for messaging. Places and labels, never content, keys or names that
senders choose."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from worker.contract.record import Record
from worker.contract.verdict import Verdict
from worker.observability import tracing
from worker.stream.publisher import Outcome
from worker.stream.work import Work


@contextmanager
def event_span(record: Record, group: str) -> Iterator[Span]:
    """The span of an event from its arrival to the broker's confirmation; a child of the one that its headers name.
    Only while tracing is on."""
    assert tracing.tracer is not None
    with tracing.tracer.start_as_current_span(
        f"process {record.topic}",
        context=tracing.context_of(record.headers),
        kind=SpanKind.CONSUMER,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.kafka.message.offset": record.offset,  # its name until 1.27 of the conventions
            "messaging.consumer.group.name": group,
            "messaging.message.body.size": len(record.value or b""),
        },
        record_exception=False,  # its words may quote content
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except asyncio.CancelledError:
            span.set_attribute("moderation.outcome", "given_back")
            raise
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


async def traced(work: Work, handle: Callable[[Work], Awaitable[None]], group: str) -> None:
    """Handles an event in a span of its own, which lasts until the broker has the outcome. Only while tracing is on."""
    with event_span(work.record, group) as span:
        work.traced = asyncio.get_running_loop().create_future()
        await handle(work)
        if work.handed_over:
            tell(span, await work.traced)


def tell(span: Span, outcome: Outcome) -> None:
    """Says in an event's span what came of it."""
    if isinstance(outcome, Verdict):
        span.set_attribute("moderation.outcome", outcome.label.value)
        span.set_attribute("moderation.categories", outcome.violated_categories)
        span.set_attribute("moderation.cached", outcome.cached)
        span.set_attribute("moderation.policy.hash", outcome.policy.hash)
    else:
        span.set_attribute("moderation.outcome", "dead_letter")
        span.set_attribute("error.type", outcome.error_type)
        span.set_status(Status(StatusCode.ERROR, outcome.error_type))
