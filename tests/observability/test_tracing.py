"""Spans: one an event, one a batch with links to its events, and the trace goes on in the verdict."""

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode

from tests.moderation.lane_rig import Asked, Lane, settle
from tests.stream.test_outcome_counts import verdict
from worker.contract.dead_letter import DeadLetter
from worker.contract.headers import verdict_headers
from worker.contract.record import Headers, header
from worker.contract.verdict import Label
from worker.guards.guard import Check
from worker.guards.runner import DeviceLost
from worker.observability import tracing
from worker.settings import Settings, SettingsError
from worker.stream import spans as event_spans
from worker.stream.kafka.raw_records import RawRecord

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Tracing is on, and the finished spans are here."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(span_limits=SpanLimits(max_links=1000))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(provider)
    yield exporter
    tracing.stop()


def record(headers: Headers = ()) -> RawRecord:
    return RawRecord("chat.events", 3, 17, 0, b"key", b"value", headers, True)


def traceparent(headers: Headers, span: Span) -> bytes | None:
    """The verdict's."""
    return header(verdict_headers(verdict(), tracing.carried_on(headers, span)), "traceparent")


def judged(lane: Lane, *checks: Check, span: Span | None = None) -> Asked:
    """An event with this span comes to the lane."""
    return Asked(lane.lane, *checks, span=span)


def test_an_events_span_is_a_child_of_its_producers_and_the_verdicts_parent(spans: InMemorySpanExporter) -> None:
    begun = event_spans.begun(record([("traceparent", PARENT), ("tracestate", b"a=1")]), "group")
    sent = traceparent([("traceparent", PARENT)], begun)
    event_spans.answered(begun, verdict(label=Label.UNSAFE, violated_categories=("S9",)))
    (span,) = spans.get_finished_spans()
    assert span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert span.parent is not None and span.parent.span_id == 0xB7AD6B7169203331
    assert sent == b"00-%032x-%016x-01" % (span.context.trace_id, span.context.span_id)
    assert (span.name, span.kind) == ("process chat.events", SpanKind.CONSUMER)
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "chat.events",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 17,
        "messaging.kafka.message.offset": 17,
        "messaging.consumer.group.name": "group",
        "messaging.message.body.size": 5,
        "moderation.outcome": "unsafe",
        "moderation.categories": ("S9",),
        "moderation.cached": False,
        "moderation.policy.hash": "0",
    }


BROKEN: list[Headers] = [
    [],
    [("traceparent", None)],
    [("traceparent", b"\xff\xfe")],
    [("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01")],
    [("traceparent", PARENT), ("traceparent", b"nonsense")],
    [("traceparent", PARENT * 1000)],
]


@pytest.mark.parametrize("headers", BROKEN)
def test_without_a_context_that_can_be_read_a_trace_begins_here(headers: Headers, spans: InMemorySpanExporter) -> None:
    begun = event_spans.begun(record(headers), "group")
    sent = traceparent(headers, begun)
    begun.end()
    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert (sent or b"").startswith(b"00-%032x-%016x-" % (span.context.trace_id, span.context.span_id))


def test_what_the_producer_did_not_sample_is_not_sampled(spans: InMemorySpanExporter) -> None:
    span = event_spans.begun(record([("traceparent", PARENT[:-1] + b"0")]), "group")
    assert (traceparent([], span) or b"").endswith(b"-00")
    span.end()
    assert spans.get_finished_spans() == ()


def test_failures_are_told_without_their_words(spans: InMemorySpanExporter) -> None:
    event_spans.failed(event_spans.begun(record(), "group"), ValueError("secret"))
    event_spans.given_back(event_spans.begun(record(), "group"))
    event_spans.answered(event_spans.begun(record(), "group"), DeadLetter(None, b"secret", [], "invalid_json"))
    failed, given_back, dead = spans.get_finished_spans()
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "ValueError")
    assert (given_back.attributes or {})["moderation.outcome"] == "given_back"
    assert (dead.attributes or {})["error.type"] == "invalid_json"
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_a_batch_is_linked_to_each_of_its_events_once(spans: InMemorySpanExporter) -> None:
    lane, count = Lane(budget=100_000, max_wait=0.0), 300  # more than the 128 links of the SDK's own limit
    for _ in range(count):
        span = event_spans.begun(record(), "group")
        judged(lane, Check(10, 0.1), Check(10, 0.2), span=span)
        span.end()
    await settle()
    await lane.device.land()
    *events, batch = spans.get_finished_spans()
    assert batch.name == "judge llama_guard"
    assert {link.context.span_id for link in batch.links} == {event.context.span_id for event in events}
    assert len(batch.links) == count
    assert (batch.attributes or {})["moderation.batch.checks"] == 2 * count
    assert (batch.end_time or 0) - (batch.start_time or 0) == pytest.approx(2e9), "as the device says"
    assert batch.context.trace_id == events[0].context.trace_id


async def test_a_batch_that_loses_the_device_has_a_span_too(spans: InMemorySpanExporter) -> None:
    lane = Lane(max_wait=0.0)
    asked = judged(lane, Check(10, 0.1), span=event_spans.begun(record(), "group"))
    await settle()
    await lane.device.land(DeviceLost("secret"))
    assert isinstance(asked.request.error, DeviceLost)
    *_, batch = spans.get_finished_spans()
    assert (batch.status.status_code, batch.status.description) == (StatusCode.ERROR, "DeviceLost")


async def test_a_batch_is_sampled_where_one_of_its_events_is(spans: InMemorySpanExporter) -> None:
    for flags, expected in ((b"0", 0), (b"1", 2)):  # its own span, and that of the event
        lane = Lane(max_wait=0.0)
        span = event_spans.begun(record([("traceparent", PARENT[:-1] + flags)]), "group")
        judged(lane, Check(10, 0.1), span=span)
        span.end()
        await settle()
        await lane.device.land()
        assert len(spans.get_finished_spans()) == expected


async def test_off_it_is_off() -> None:
    assert tracing.tracer is None
    assert traceparent([("traceparent", PARENT)], INVALID_SPAN) == PARENT, "passed through as it came"
    lane = Lane(max_wait=0.0)
    judged(lane, Check(10, 0.1))
    await settle()
    await lane.device.land()


@pytest.mark.parametrize(
    ("tracing_on", "variables"),
    [
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
        (True, {"OTEL_SDK_DISABLED": "TRUE"}),
        (True, {"OTEL_TRACES_EXPORTER": "none"}),
    ],
)
def test_it_is_off_unless_it_is_wanted(
    tracing_on: bool, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracing.start(Settings.model_validate({"tracing": tracing_on}))
    assert tracing.tracer is None


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_TRACES_EXPORTER", "jaeger"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
)
def test_what_is_not_supported_is_said_at_start(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        tracing.start(Settings.model_validate({"tracing": True}))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"moderation-worker\[tracing\]"):
        tracing.start(Settings.model_validate({"tracing": True}))
