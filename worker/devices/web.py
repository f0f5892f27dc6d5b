"""Health and metrics of all workers of a host, on one port."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from worker.devices.device_worker import DeviceWorker
from worker.local.ports import LOOPBACK
from worker.observability import metrics
from worker.settings import SettingsError

_LONGEST_START = 120.0  # seconds to the first answer, which comes before the models are loaded
_TIMEOUT = aiohttp.ClientTimeout(total=3)  # below the patience of whoever probes


class DevicesWeb:
    """/healthz, /readyz and /metrics of a crew."""

    def __init__(self, crew: Sequence[DeviceWorker]) -> None:
        self._crew = crew
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self, host: str, port: int) -> None:
        """Serves. Raises SettingsError where the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.stop()
            raise SettingsError(f"setting web_port: cannot listen on port {port}: {error}") from None

    async def stop(self) -> None:
        """Serves no more."""
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        """Red where a worker that runs says so, or has stopped answering. One that is on its way is in order: it is
        started here, and nobody need end the others for it."""
        return self._sum(await self._ask_all("/healthz", on_its_way=True))

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Green where all workers are ready."""
        return self._sum(await self._ask_all("/readyz", on_its_way=False))

    async def _metrics(self, _request: web.Request) -> web.Response:
        """The metrics of all workers, each with the label `worker`, and those of the crew."""
        texts = await asyncio.gather(*(self._get(worker, "/metrics") for worker in self._crew))
        found = {worker.number: answer[1] for worker, answer in zip(self._crew, texts, strict=True) if answer}
        registry = CollectorRegistry()
        registry.register(_Merged(found))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _ask_all(self, path: str, *, on_its_way: bool) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(self._ask(worker, path, on_its_way) for worker in self._crew)))

    async def _ask(self, worker: DeviceWorker, path: str, on_its_way: bool) -> dict[str, Any]:
        about = {"worker": worker.number, "device": worker.device.name, "restarts": worker.restarts}
        answer = await self._get(worker, path)
        if answer is not None:
            return {**about, **orjson.loads(answer[1])}
        if worker.alive and (worker.answered or time.monotonic() - worker.began > _LONGEST_START):
            return {**about, "ok": False, "phase": "failed", "why": "it does not answer"}
        return {**about, "ok": on_its_way, "phase": "starting", "why": "it is being started"}

    async def _get(self, worker: DeviceWorker, path: str) -> tuple[int, bytes] | None:
        """Status and body of a worker's page; None where it does not answer."""
        if not worker.port or self._session is None:
            return None
        try:
            async with self._session.get(f"http://{LOOPBACK}:{worker.port}{path}") as answer:
                body = await answer.read()
                worker.answered = True
                return answer.status, body
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    @staticmethod
    def _sum(reports: list[dict[str, Any]]) -> web.Response:
        ok = all(report["ok"] for report in reports)
        return web.json_response({"ok": ok, "workers": reports}, status=200 if ok else 503)


class _Merged(Collector):
    """Pages of several workers as one, their series told apart by `worker`."""

    def __init__(self, pages: dict[int, bytes]) -> None:
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, page in self._pages.items():
            for family in text_string_to_metric_families(page.decode()):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.samples.append(sample._replace(labels={"worker": str(number), **sample.labels}))
        for own in (metrics.WORKER_UP, metrics.WORKER_RESTARTS):
            for family in own.collect():
                families[family.name] = family
        return families.values()
