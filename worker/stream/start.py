"""What must stand before the first record is taken: policies, Kafka's topics and rights, models."""

import asyncio
import gc
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from aiokafka.errors import KafkaConnectionError

from worker.guards.guard import Guard
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Then
from worker.observability import metrics
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.kafka.checks import kafka_faults
from worker.stream.kafka.preflight import KafkaNotReady
from worker.stream.live_policies import LivePolicies
from worker.stream.outbox import Settled
from worker.stream.poison.isolation import Isolation
from worker.stream.publisher import Publisher
from worker.stream.shadow_path import check_shadow_policy
from worker.stream.source import Source

log = structlog.get_logger(__name__)

# Seconds after which a thread that waits for Python's lock gets it; Python's own is ten times as long. An event goes
# from the event loop to a preparing thread, back, to the device's and back: on a busy loop each would wait that long.
_SWITCH_SECONDS = 0.0005
_AGAIN_SECONDS = 5.0  # until brokers that are not there are asked again
_SOON_SECONDS = 1.0  # and those that were there a moment ago
_YOUNG_OBJECTS = 50_000  # more objects than at the last collection of the youngest ones; Python's own is 700

# Settings, and what takes a line of progress -> guards. Runs on a thread.
LoadGuards = Callable[[Settings, Callable[[str], None]], Sequence[Guard]]


@dataclass(frozen=True, slots=True)
class Started:
    """A worker's parts, ready to run."""

    moderator: Moderator
    policies: LivePolicies
    source: Source
    publisher: Publisher
    isolation: Isolation


async def start(
    settings: Settings,
    load: LoadGuards,
    health: Health,
    *,
    on_started: Then,
    on_let_go: Then,
    on_lost: Callable[[DeviceLost], object],
    settled: Settled,
    stop_without: Callable[[str], None],
) -> Started:
    """Everything but joining the group. Raises what keeps the worker from its work, the quick checks first; brokers
    that are away are waited for.

    `health` is told the phase. `on_started`, `on_let_go`, `on_lost` and `settled`: as the moderator and the publisher
    have them. `stop_without` is called with the name of a guard that is down, where the settings want the worker to
    stop then.
    """
    policies = LivePolicies(settings)
    check_shadow_policy(settings, policies)
    await _kafka_is_there(settings, health)
    guards = await asyncio.to_thread(load, settings, log.info)
    for model in (model for guard in guards for model in guard.models):
        metrics.MODEL.labels(model.id, model.revision, str(model.stand_in).lower()).set(1)
        if model.stand_in:
            log.warning("this model is a stand-in: its verdicts say nothing about the content", model=model.id)
    await _kafka_is_there(settings, health)  # still: loading may take minutes
    publisher, source = Publisher(settings, settled), Source(settings)
    async with AsyncExitStack() as unless_all_goes_well:  # a stop cancels the start
        for part in (publisher, source):
            unless_all_goes_well.push_async_callback(part.stop)
            await _connected(part.connect, settings, health)
        await publisher.start()
        unless_all_goes_well.pop_all()
    _spare_the_garbage_collector()
    sys.setswitchinterval(_SWITCH_SECONDS)
    on_guard_down = stop_without if settings.guard_breaker_action == "stop" else None
    moderator = Moderator(
        guards,
        ModeratorOptions.of(settings),
        on_started=on_started,
        on_let_go=on_let_go,
        on_lost=on_lost,
        on_guard_down=on_guard_down,
    )
    log.info(
        "joining the group",
        bootstrap_servers=settings.bootstrap_servers,
        topic=settings.input_topic,
        group=settings.group,
        policies_file=settings.policies_file and str(settings.policies_file),
    )
    # The journal last: a kill while the models load is no record's fault.
    return Started(moderator, policies, source, publisher, Isolation.of(settings))


async def _kafka_is_there(settings: Settings, health: Health) -> None:
    """Waits for brokers that are away or just start. Raises KafkaNotReady for what waiting does not mend."""
    answered_since: float | None = None  # by something that is not Kafka yet, or never will be
    while faults := await kafka_faults(settings):
        patience, now = min(fault.patience for fault in faults), time.monotonic()
        answered_since = None if patience == math.inf else now if answered_since is None else answered_since
        if answered_since is not None and now - answered_since >= patience:
            raise KafkaNotReady(faults)
        health.phase = Phase.WAITING
        metrics.WAITING_FOR_KAFKA.set(1)
        log.warning("waiting for Kafka", cause="; ".join(map(str, faults)), tries_again_in=_AGAIN_SECONDS)
        await asyncio.sleep(_AGAIN_SECONDS)
    metrics.WAITING_FOR_KAFKA.set(0)
    health.phase = Phase.LOADING


async def _connected(connect: Callable[[], Awaitable[None]], settings: Settings, health: Health) -> None:
    """Connects. Brokers that have gone since they were last asked are waited for."""
    while True:
        try:
            await connect()
            return
        except KafkaConnectionError as cause:
            log.warning("the brokers went while the worker connected", cause=str(cause), tries_again_in=_SOON_SECONDS)
        await asyncio.sleep(_SOON_SECONDS)
        await _kafka_is_there(settings, health)


def _spare_the_garbage_collector() -> None:
    """Leaves the loaded libraries and models out of every later collection, and collects young objects less often.

    An event is some fifty short-lived objects: by default every tenth event or so would set off a collection, and some
    of these would walk through all of torch. A thousand events in flight are no reason for one either; what garbage
    comes together below the threshold is collected every minute (`keep_house`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
