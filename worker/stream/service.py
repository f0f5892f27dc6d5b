"""The worker's life, as a service of Faust's: its start, its share of the partitions, its end."""

import asyncio
from collections.abc import Awaitable, Iterable

import faust
import structlog
from aiokafka import TopicPartition

from worker.exit_codes import ExitCode
from worker.observability import metrics
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.closing import closed
from worker.stream.commits import Commits
from worker.stream.dead_letters.stop import DeadLetterStop
from worker.stream.housekeeping import keep_house
from worker.stream.lag import Lag
from worker.stream.last_resort import CRASH_SECONDS, end_process_in
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.pipeline import Pipeline
from worker.stream.shadow_path import ShadowPath
from worker.stream.source import COMMIT_SECONDS, lost_after
from worker.stream.start import LoadGuards, Started, start
from worker.stream.status.recent import RecentOutcomes

log = structlog.get_logger(__name__)

_CRASH = (CRASH_SECONDS, ExitCode.CRASH)  # seconds until the process ends in any case, and its exit code then
_STOP_WHILE_LOADING = (2.0, ExitCode.OK)  # nothing is in flight yet


class ModerationService(faust.Service):  # type: ignore[misc]
    """Loads, joins, feeds the pipeline, commits, gives partitions back. Faust starts, supervises and stops it.

    Where nothing of a partition is outstanding, the consumer's position is committed: over transaction markers and
    compaction's holes.
    """

    def __init__(self, settings: Settings, load: LoadGuards, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self._load = load
        self.health = Health(settings.stuck_after_seconds, lost_after(settings))
        self.recent = RecentOutcomes()
        self.failure: BaseException | None = None
        self.orderly_stop = OrderlyStop()
        self.parts: Started | None = None  # from when it has started
        self._tasks: list[asyncio.Future[None]] = []
        self._crashing: asyncio.Future[None] | None = None

    @property
    def loading(self) -> bool:
        """Whether the models are still on their way, on a thread that cannot be stopped."""
        return self.parts is None and self.failure is None

    async def on_start(self) -> None:
        """Loads the models, checks Kafka, joins the group."""
        dead_letter_stop = DeadLetterStop(self.settings, self.orderly_stop)
        self._pipeline = pipeline = Pipeline(self.settings, self.health, dead_letter_stop, self._broke_down)
        metrics.OLDEST_UNFINISHED.follow(pipeline.works.oldest)
        try:
            self.parts = parts = await start(
                self.settings,
                self._load,
                self.health,
                on_started=pipeline.started,
                on_let_go=pipeline.let_go,
                on_lost=pipeline.lost,
                settled=pipeline.settled,
                stop_without=self.orderly_stop.guard_down,
            )
            counts = OutcomeCounts((), recent=self.recent if self.settings.status_page else None)
            parts.policies.follow_tenants(counts.tell_apart)
            pipeline.join(parts, counts)
            self._source = parts.source
            self._shadow = ShadowPath(
                self.settings, parts.moderator, parts.policies, parts.isolation, pipeline.break_down
            )
            self._lag = Lag(self._source.ends, pipeline.progress, self.health.kafka_answered)
            self._commits = Commits(
                self._source, pipeline.progress, parts.isolation.committed, lambda: self.failure is not None
            )
            self.health.phase = Phase.JOINING
            self._source.join(self._assigned, self._revoked, self.crash)
        except Exception as error:
            self.failure, self.health.phase = error, Phase.FAILED
            raise
        committing = self._commits.often(self.settings.commit_interval_seconds, self.settings.input_gone_seconds)
        often = (committing, self._lag.often(), parts.policies.often(), keep_house())
        self._tasks = [self.add_future(each) for each in (self._intake(), *often)]

    async def on_stop(self) -> None:
        """Takes nothing more, finishes what has started, commits, leaves the group."""
        if self.parts is None:
            log.info("stopped before it has started")
            end_process_in(*(_STOP_WHILE_LOADING if self.loading else _CRASH))
            return
        self.parts.isolation.end()
        failed = self.crashed or self.failure is not None  # mode marks every service when one of them crashes
        self.health.phase = Phase.FAILED if failed else Phase.DRAINING
        end_process_in(*(_CRASH if failed else (self.settings.drain_seconds, self.orderly_stop.late)))
        self._shadow.drop()
        if self._tasks:
            self._tasks[0].cancel()  # the intake; the commits go on
        if not failed:
            await self._pipeline.drain(self._pipeline.progress.owned)
            if error := await closed(self._commits.last):
                self._fail(error)
        for task in self._tasks[1:]:
            task.cancel()
        for part in (self._source, self.parts.publisher, self._shadow):
            await closed(part.stop)
        self.parts.moderator.close()
        log.info("stopped", failed=failed, unfinished=len(self._pipeline.works))

    async def crash(self, reason: BaseException) -> None:
        """Something unexpected: the process ends, with or without the event loop's help."""
        self._fail(reason)
        await super().crash(reason)

    def _broke_down(self, error: BaseException) -> None:
        """The pipeline cannot go on."""
        self._fail(error)
        self._crashing = asyncio.ensure_future(super().crash(error))

    def _fail(self, reason: BaseException) -> None:
        if self.failure is not None:
            return
        self.failure = self._pipeline.failure = reason
        self.health.phase = Phase.FAILED
        log.error("crashed", cause=f"{type(reason).__name__}: {reason}")
        end_process_in(*_CRASH)

    async def _intake(self) -> None:
        in_flight = self._pipeline.in_flight
        while not (self.orderly_stop.asked or self.should_stop):  # it may have been stopped while it joined
            self.health.polled(in_flight.events)
            if room := in_flight.room:
                self._pipeline.take(await self._source.fetch(room))
                await asyncio.sleep(0)  # what is there already is handed over without a pause: let others come between
            else:
                await in_flight.wait_for_room(0.1)
                await self._source.stay()

    # -- rebalances ---------------------------------------------------------------------------------------------------

    def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        self._pipeline.progress.assign(partitions)
        self._count_partitions()
        if self.health.phase in (Phase.JOINING, Phase.REBALANCING):
            self.health.phase = Phase.RUNNING
        owned = sorted(each.partition for each in self._pipeline.progress.owned)
        log.info("partitions assigned", partitions=owned)

    def _count_partitions(self) -> None:
        owned = self._pipeline.progress.owned
        self.health.partitions = len(owned)
        metrics.PARTITIONS.set(self.health.partitions)
        self._lag.keep(owned)

    async def _revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Called before partitions go to another worker. The group waits for it."""
        gone = [each for each in partitions if each in self._pipeline.progress.owned]
        if self.health.phase is Phase.RUNNING:
            self.health.phase = Phase.REBALANCING
        if gone and self.failure is None:
            metrics.REBALANCES.inc()
            drain = self._pipeline.drain(gone)
            await self._within(self.settings.revoke_drain_seconds, drain, "started work was not finished")
        if gone and self.failure is None:
            await self._within(COMMIT_SECONDS, self._commits.now(), "no answer to the commit")
        self._pipeline.revoke(gone)
        self._count_partitions()

    async def _within(self, seconds: float, doing: Awaitable[object], late: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                await doing
        except TimeoutError:
            log.warning(f"{late} before the partitions went; the records come again")
        except Exception as error:  # aiokafka would only log it
            await self.crash(error)
