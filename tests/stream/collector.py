"""An OpenTelemetry collector on this machine: it takes spans by OTLP over HTTP and keeps them."""

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import QuietHandler, serving


@dataclass
class Collector:
    """Its address, and what it was sent."""

    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    @property
    def variables(self) -> dict[str, Any]:
        """Settings and OpenTelemetry's own variables of a worker that sends here."""
        return {"tracing": True, "OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": 200}

    @property
    def spans(self) -> list[Any]:
        """All spans, as OTLP has them."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        resources = [resource for request in requests for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Runs one on a thread."""
    kept = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            kept.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as kept.url:
        yield kept
