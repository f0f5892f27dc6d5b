"""An event's span: OpenTelemetry's conventions for messaging. Places and labels, never content, keys or names that
senders choose."""

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from worker.contract.record import Record
from worker.contract.verdict import Verdict
from worker.observability import tracing
from worker.stream.work import Outcome


def begun(record: Record, group: str) -> Span:
    """The span of an event that has arrived; a child of the one that its headers name. Only while tracing is on. It
    lasts until one of the other functions ends it."""
    assert tracing.tracer is not None
    return tracing.tracer.start_span(
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
    )


def given_back(span: Span) -> None:
    """The event is another worker's now."""
    span.set_attribute("moderation.outcome", "given_back")
    span.end()


def failed(span: Span, error: BaseException) -> None:
    """The event ends the worker. The error's words may quote content: they are not told."""
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    span.end()


def answered(span: Span, outcome: Outcome) -> None:
    """The broker has the event's outcome."""
    if isinstance(outcome, Verdict):
        span.set_attribute("moderation.outcome", outcome.label.value)
        span.set_attribute("moderation.categories", outcome.violated_categories)
        span.set_attribute("moderation.cached", outcome.cached)
        span.set_attribute("moderation.policy.hash", outcome.policy.hash)
    else:
        span.set_attribute("moderation.outcome", "dead_letter")
        span.set_attribute("error.type", outcome.error_type)
        span.set_status(Status(StatusCode.ERROR, outcome.error_type))
    span.end()
