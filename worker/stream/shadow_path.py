"""The shadow's way through the worker: beside the main path, with a producer of its own."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from worker.contract.headers import shadow_headers
from worker.contract.record import Record
from worker.contract.verdict import Label, Verdict
from worker.moderation.moderator import Moderator
from worker.moderation.shadow import Shadow
from worker.observability import metrics
from worker.observability.light_metrics import Count
from worker.settings import Settings, SettingsError
from worker.stream.kafka.connection import security_of
from worker.stream.live_policies import LivePolicies
from worker.stream.poison.isolation import Isolation

log = structlog.get_logger(__name__)

_LAST_SECONDS: Final = 1.0  # for what has been handed to the producer when the worker stops
_LABELS: Final = tuple(Label)


class ShadowPath:
    """What the shadow sees, and what it publishes. Without a shadow policy: nothing."""

    def __init__(
        self,
        settings: Settings,
        moderator: Moderator,
        policies: LivePolicies,
        isolation: Isolation,
        on_device_lost: Callable[[BaseException], None],
    ) -> None:
        self._shadow: Shadow | None = None
        self._stopping: asyncio.Future[None] | None = None
        if not settings.shadow_policy:
            return
        self._topic = ShadowTopic(settings)
        if isolation.began_after_a_kill:
            log.warning("the shadow is paused until the next start: the process before this one was killed")
        self._shadow = Shadow(
            moderator,
            lambda: policies.named(settings.shadow_policy),
            settings.shadow_share,
            self._topic.publish,
            naming=isolation.beside,
            on_device_lost=on_device_lost,
            paused=isolation.began_after_a_kill,
        )

    def drop(self) -> None:
        """The worker stops: nothing more is done for the shadow."""
        if self._shadow is not None:
            self._shadow.drop()
            self._stopping = asyncio.ensure_future(self._topic.stop())

    async def stop(self) -> None:
        """Returns a second after `drop` at the latest."""
        if self._stopping is not None:
            await self._stopping


def check_shadow_policy(settings: Settings, policies: LivePolicies) -> None:
    """Raises SettingsError where the shadow policy is not in the policies file."""
    if settings.shadow_policy and policies.named(settings.shadow_policy) is None:
        where = settings.policies_file or "the built-in policies: policies_file is not set"
        raise SettingsError(f"setting shadow_policy: no policy named {settings.shadow_policy!r} in {where}")


class ShadowTopic:
    """The topic of the shadow's verdicts. A producer of its own: what fails here fails nothing else, and a verdict
    lost here is only counted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        pairs = [(main, shadow) for main in _LABELS for shadow in _LABELS]
        self._counts = {pair: metrics.SHADOW_VERDICTS.labels(pair[0].value, pair[1].value) for pair in pairs}
        self._failed = metrics.SHADOW_ERRORS.labels("publish")

    async def publish(self, verdict: Verdict, record: Record, main: Label) -> None:
        """Hands a verdict over; `main` is the label of the main one. Raises KafkaError where that is not possible."""
        headers = shadow_headers(verdict, record.headers)
        producer = self._producer or await self._connected()
        sent = await producer.send(self._settings.shadow_topic, verdict.to_json(), record.key, headers=headers)
        sent.add_done_callback(partial(self._sent, self._counts[main, verdict.label]))

    async def stop(self) -> None:
        """Waits a second for what was handed over."""
        if self._producer is None:
            return
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._producer.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning("shadow verdicts were not published", exception=type(error).__name__)
            await self._producer.client.close()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._settings.bootstrap_servers,
                    acks=1,
                    compression_type="zstd",
                    linger_ms=20,
                    max_request_size=self._settings.max_record_bytes,
                    request_timeout_ms=10_000,
                    **security_of(self._settings),
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _sent(self, count: Count, sent: "asyncio.Future[Any]") -> None:
        error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
        if error is None:
            count.inc()
        else:
            self._failed.inc()
            log.warning("shadow_failed", stage="publish", exception=type(error).__name__)
