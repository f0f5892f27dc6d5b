"""The Faust app that hosts the worker: `faust -A worker.stream.app worker` and `moderation-worker run` both start
it."""

import os
import socket
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import faust
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.guards.loading import load_guards
from worker.observability import tracing
from worker.observability.health import Report
from worker.observability.logs import configure_logs
from worker.settings import Settings, SettingsError, load_settings
from worker.stream.early_stop import until_the_loop_listens
from worker.stream.live_policies import LivePolicies
from worker.stream.reviews.service import Reviews
from worker.stream.service import ModerationService
from worker.stream.start import LoadGuards
from worker.stream.status.document import Status
from worker.stream.status.history import History
from worker.stream.status.pages import add_status_pages
from worker.stream.status.reading import read
from worker.stream.status.sampler import Sampler

log = structlog.get_logger(__name__)


def create_app(settings: Settings, load: LoadGuards = load_guards) -> faust.App:
    """The app: the moderation as its service; /healthz, /readyz, /metrics and the status page as its pages.
    `app.moderation` is that service."""
    tracing.start(settings)
    moderation, history = ModerationService(settings, load), History(read)
    sampler = [Sampler(history)] if settings.status_page else []
    beside = [Reviews(settings, lambda: _policies_of(moderation))] if settings.reviews_topic else []

    class Boot(faust.App.BootStrategy):  # type: ignore[misc]
        # Faust's own consumer and producer stay off: the chat events go through aiokafka directly
        # (docs/architecture.md).
        enable_kafka = False

        def server(self) -> Iterable[Any]:
            # In front of the moderation's stop, which has the whole drain; behind its start, which may take minutes.
            return [*super().server(), *sampler, moderation, *beside]  # started last, stopped first

    class Host(faust.App):  # type: ignore[misc]
        BootStrategy = Boot

    port = _port(settings)
    app = Host(
        settings.group,
        broker="kafka://" + settings.bootstrap_servers.replace(",", ";"),
        store="memory://",
        env_prefix="MODERATION_FAUST_",  # else Faust's own environment variables override these arguments
        # Faust makes this directory at its start, by default in the working directory, which may be read-only.
        datadir=Path(tempfile.gettempdir()) / f"moderation-worker-{os.getuid()}",
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=port,
        web_in_thread=True,  # probes are answered while the main loop is busy
        topic_allow_declare=False,
        topic_disable_leader=True,
        reply_create_topic=False,
        worker_redirect_stdouts=False,
    )
    app.moderation = moderation
    _add_pages(app, moderation)
    if settings.status_page:
        status = Status(settings, moderation.health, moderation.recent, history, lambda: _live_policies_of(moderation))
        add_status_pages(app, status)
    log.info("health and metrics are served", host=settings.web_host, port=port)
    return app


def _live_policies_of(moderation: ModerationService) -> LivePolicies | None:
    return None if moderation.parts is None else moderation.parts.policies


def _policies_of(moderation: ModerationService) -> Collection[str]:
    """The policies that metrics may tell apart."""
    return () if moderation.parts is None else moderation.parts.policies.names


def _add_pages(app: faust.App, moderation: ModerationService) -> None:
    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(_self: Any, _request: Any) -> web.Response:
        """Liveness: progress, not mere life."""
        return _answer(moderation.health.live())

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def readyz(_self: Any, _request: Any) -> web.Response:
        """Readiness: models loaded, partitions assigned, not draining."""
        return _answer(moderation.health.ready())

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def metrics(_self: Any, _request: Any) -> web.Response:
        """Prometheus metrics."""
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(report: Report) -> web.Response:
    body = {"ok": report.ok, "phase": report.phase.value, "why": report.why}
    return web.json_response(body, status=200 if report.ok else 503)


def _port(settings: Settings) -> int:
    """The port to serve on. Raises SettingsError where it is taken: found now, it is one line instead of a crash."""
    with socket.socket(socket.AF_INET6 if ":" in settings.web_host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.web_host, settings.web_port))
        except OSError as error:
            raise SettingsError(f"setting web_port: cannot listen on port {settings.web_port}: {error}") from None
        port: int = probe.getsockname()[1]
        return port


def __getattr__(name: str) -> faust.App:
    # Made on first use and not at import, so that the module can be imported without settings.
    if name == "app":
        until_the_loop_listens()
        settings = load_settings()
        configure_logs(settings.log_format, settings.log_level)
        globals()["app"] = create_app(settings)
        return globals()["app"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
