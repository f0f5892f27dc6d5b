"""Tracing by OpenTelemetry. Off unless the settings say so; then `tracer` is None, and asking that is all it costs."""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, NonRecordingSpan, Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker import __version__
from worker.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Headers = Sequence[tuple[str, bytes | None]]

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_STOP_SECONDS: Final = 5.0  # for the last spans to leave

tracer: trace.Tracer | None = None
_provider: "TracerProvider | None" = None


def start(settings: Settings) -> None:
    """Sends spans from now on, where the settings and OpenTelemetry's own variables want it. Raises SettingsError."""
    if not settings.tracing or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter()
    except ImportError:
        raise SettingsError("setting tracing: needs the extra `tracing`: moderation-worker[tracing]") from None
    if exporter is None:
        return
    # A batch may have more events than the SDK's 128 links a span, and each of them shall find it.
    own_limit = "OTEL_SPAN_LINK_COUNT_LIMIT" in os.environ
    limits = SpanLimits() if own_limit else SpanLimits(max_links=settings.max_in_flight_events)
    name = os.environ.get("OTEL_SERVICE_NAME", "moderation-worker")
    provider = TracerProvider(resource=Resource.create({"service.name": name}), span_limits=limits)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    install(provider)


def install(provider: "TracerProvider") -> None:
    """Makes spans by this provider, until `stop`."""
    global tracer, _provider  # noqa: PLW0603  # one process, one tracer: as with metrics
    _provider = provider
    tracer = provider.get_tracer("moderation-worker", __version__)


def stop() -> None:
    """Sends the last spans, in 5 s at most, and makes no more."""
    global tracer, _provider
    provider, tracer, _provider = _provider, None, None
    if provider is not None:
        last = threading.Thread(target=provider.shutdown, daemon=True)  # a collector that hangs must not hold us
        last.start()
        last.join(_STOP_SECONDS)


def context_of(headers: Headers) -> Context:
    """The W3C context that a record's headers carry; an empty one where there is none, or a broken one."""
    return _PROPAGATOR.extract(headers, context=Context(), getter=_HEADERS)


def carried_on(headers: Headers, span: Span) -> Headers:
    """The headers that what follows is to carry on a span's trace with; as they came where it is in none."""
    if not span.get_span_context().is_valid:
        return headers
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    return [(name, value.encode()) for name, value in carrier.items()]


def batch_span(
    guard: str,
    events: Iterable[Span | None],
    seconds: float,
    counts: Mapping[str, int],
    error: BaseException | None = None,
) -> None:
    """A batch that was on the device for these seconds, linked to the spans of its events.

    It is sampled where one of its events is: it belongs to the trace of the first of them.
    """
    contexts = [each.get_span_context() for each in events if each is not None]
    sampled = {each.span_id: each for each in contexts if each.is_valid and each.trace_flags.sampled}
    if tracer is None or not sampled:
        return
    end = time.time_ns()
    span = tracer.start_span(
        f"judge {guard}",
        context=trace.set_span_in_context(NonRecordingSpan(next(iter(sampled.values()))), Context()),
        links=[Link(each) for each in sampled.values()],
        start_time=end - int(seconds * 1e9),
        attributes={"moderation.guard": guard, **{f"moderation.batch.{name}": n for name, n in counts.items()}},
    )
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))  # its words may quote content
    span.end(end)


def _exporter() -> "SpanExporter | None":
    """As OTEL_TRACES_EXPORTER has it; None for `none`. Raises SettingsError."""
    kind = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if kind == "none":
        return None
    if kind != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER: {kind!r} is neither `otlp` nor `none`")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(variable, "").strip() not in ("", "http/protobuf"):
            raise SettingsError(f"{variable}: only `http/protobuf` is supported")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class _HeadersGetter(Getter[Headers]):
    """Kafka's headers: names may repeat, the last one counts, and values are any bytes."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        for name, value in reversed(carrier):
            if name == key:
                return [(value or b"").decode("latin-1")]
        return None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier]


_HEADERS: Final = _HeadersGetter()
