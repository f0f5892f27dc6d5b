"""The way of the data, from top to bottom: a record comes in, its outcome goes out, its offset is committed."""

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Mapping
from functools import partial

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Unjudgeable
from worker.exit_codes import ExitCode
from worker.moderation.moderator import Origin
from worker.observability import metrics, tracing
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.closing import closed
from worker.stream.commits import Commits
from worker.stream.dead_letter_stop import DeadLetterStop
from worker.stream.event_reader import EventReader
from worker.stream.housekeeping import keep_house
from worker.stream.in_flight import InFlight
from worker.stream.key_order import KeyOrder
from worker.stream.lag import Lag
from worker.stream.last_resort import CRASH_SECONDS, end_process_in
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.progress import Progress
from worker.stream.publisher import Outcome
from worker.stream.raw_records import RawRecord
from worker.stream.shadow_path import ShadowPath
from worker.stream.source import COMMIT_SECONDS, lost_after
from worker.stream.spans import traced
from worker.stream.start import LoadGuards, Started, start
from worker.stream.status.recent import RecentOutcomes
from worker.stream.work import Work, Works

log = structlog.get_logger(__name__)

_CRASH = (CRASH_SECONDS, ExitCode.CRASH)  # seconds until the process ends in any case, and its exit code then
_STOP_WHILE_LOADING = (2.0, ExitCode.OK)  # nothing is in flight yet


class Pipeline(faust.Service):  # type: ignore[misc]
    """Chat events in, verdicts and dead letters out. Faust starts, supervises and stops it.

    1. A partition's committed offset is the end of its finished prefix, never more.
    2. Where nothing is outstanding it is the consumer's position: over transaction markers and compaction's holes.
    3. What is taken away is given back unless it has started; what has started is finished and committed.
    4. Anything unexpected ends the process; Kafka redelivers.
    5. What was in flight when the process was killed is judged alone.
    """

    def __init__(self, settings: Settings, load: LoadGuards, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self._load = load
        self.health = Health(settings.stuck_after_seconds, lost_after(settings))
        self.recent = RecentOutcomes()
        self.failure: BaseException | None = None
        self.orderly_stop = OrderlyStop()
        self._dead_letter_stop = DeadLetterStop(settings, self.orderly_stop)
        self.parts: Started | None = None  # from when it has started
        self._tasks: list[asyncio.Future[None]] = []

    @property
    def loading(self) -> bool:
        """Whether the models are still on their way, on a thread that cannot be stopped."""
        return self.parts is None and self.failure is None

    # -- the story of one record --------------------------------------------------------------------------------------

    async def _handle(self, work: Work) -> None:
        outcome = await self._outcome_of(work)
        work.decided = time.monotonic()
        if not work.entry.started:  # it cost nothing: a dead letter, a cached verdict, one without the guards
            await work.earlier_ones_started()
            work.entry.started = True
        if work.turn.must_wait:
            await work.turn.wait()
        if self.failure is not None:
            return  # an earlier event of this key may not have left: nothing may overtake it
        if not work.entry.owner.live:
            metrics.STALE.inc()  # taken away while it was judged: the new owner publishes it
            self._end(work)
            return
        work.handed_over = True
        self._publisher.send(outcome, work.record, partial(self._settled, work))
        work.turn.leave()

    def _settled(self, work: Work, outcome: Outcome, error: BaseException | None) -> None:
        """The broker has it, or it will not."""
        try:
            if error is None:
                self._confirmed(work, outcome)
        except Exception as cause:  # the event loop would only log it
            error = cause
        if error is not None:
            self._broke(work, error)

    def _confirmed(self, work: Work, outcome: Outcome) -> None:
        self._progress.done(work.entry)
        self._counts.confirmed(outcome, work.arrived, work.decided)
        self._dead_letter_stop.confirmed(outcome)
        self.health.finished()
        if work.traced is not None:
            work.traced.set_result(outcome)
        self._end(work, answered=True)

    async def _outcome_of(self, work: Work) -> Outcome:
        try:
            await self._isolation.admitted(work.case)
            if isinstance(work.record, RawRecord):
                work.record.check()
            event = await self._events.read(work.record.value)
            policy = self._policies.for_event(event)
            return await self._moderator.judge(event, policy, Origin.of(work.record), work.arrived, work.entry)
        except Unjudgeable as cause:
            return DeadLetter.of(work.record, cause)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Loads the models, checks Kafka, joins the group."""
        self._progress: Progress[TopicPartition] = Progress()
        self._key_order = KeyOrder(kept=self.settings.ordering == "key")
        self._in_flight = InFlight(self.settings.max_in_flight_events, self.settings.max_in_flight_bytes)
        self._works, self._events = Works(), EventReader()
        metrics.OLDEST_UNFINISHED.follow(self._works.oldest)
        try:
            self.parts = parts = await start(self.settings, self._load, self.orderly_stop.guard_down, self.health)
            self._policies = parts.policies
            self._counts = OutcomeCounts((), recent=self.recent if self.settings.status_page else None)
            self._policies.follow_tenants(self._counts.tell_apart)
            self._source, self._publisher, self._isolation = parts.source, parts.publisher, parts.isolation
            self._shadow = ShadowPath(self.settings, parts.moderator, self._policies, self._isolation, self._broke_down)
            self._moderator = self._shadow.moderator
            self._lag = Lag(self._source.ends, self._progress, self.health.kafka_answered)
            self._commits = Commits(self._source, self._progress, self._isolation.committed)
            self.health.phase = Phase.JOINING
            await self._source.start(self._assigned, self._revoked, self.crash)
        except Exception as error:
            self.failure, self.health.phase = error, Phase.FAILED
            raise
        committing = self._commits.often(self.settings.commit_interval_seconds, self.settings.input_gone_seconds)
        often = (committing, self._lag.often(), self._policies.often(), keep_house())
        self._tasks = [self.add_future(each) for each in (self._intake(), *often)]

    async def on_stop(self) -> None:
        """Takes nothing more, finishes what has started, commits, leaves the group."""
        if self.parts is None:
            end_process_in(*(_STOP_WHILE_LOADING if self.loading else _CRASH))
            return
        self._isolation.end()
        failed = self.crashed or self.failure is not None  # mode marks every service when one of them crashes
        self.health.phase = Phase.FAILED if failed else Phase.DRAINING
        end_process_in(*(_CRASH if failed else (self.settings.drain_seconds, self.orderly_stop.late)))
        self._shadow.drop()
        if self._tasks:
            self._tasks[0].cancel()  # the intake; the commits go on
        if not failed:
            await self._drain(self._progress.owned)
            if error := await closed(lambda: self._commits.last(lambda: self.failure is not None)):
                self._fail(error)
        for task in self._tasks[1:]:
            task.cancel()
        for part in (self._source, self._publisher, self._shadow):
            await closed(part.stop)
        self.parts.moderator.close()
        log.info("stopped", failed=failed, unfinished=len(self._works))

    async def crash(self, reason: BaseException) -> None:
        """Something unexpected: the process ends, with or without the event loop's help."""
        self._fail(reason)
        await super().crash(reason)

    def _fail(self, reason: BaseException) -> None:
        if self.failure is not None:
            return
        self.failure = reason
        self.health.phase = Phase.FAILED
        log.error("crashed", cause=f"{type(reason).__name__}: {reason}")
        end_process_in(*_CRASH)

    # -- intake -------------------------------------------------------------------------------------------------------

    async def _intake(self) -> None:
        while not (self.orderly_stop.asked or self.should_stop):  # it may have been stopped while it joined
            self.health.polled(self._in_flight.events)
            if room := self._in_flight.room:
                self._take(await self._source.fetch(room))
            else:
                await self._in_flight.wait_for_room(0.1)
                await self._source.stay()

    def _take(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        arrived, sizes = time.monotonic(), []
        for partition, records in fetched.items():
            for record in records:
                entry = self._progress.take(partition, record.offset)
                if entry is None:
                    continue
                turn, case = self._key_order.enter(record.key), self._isolation.arrive(record)
                work = Work(record, entry, turn, case, arrived)
                self._works.begin(work, self._run(work))
                sizes.append(work.size)
        self._isolation.admit()  # none of them has begun yet
        self._in_flight.took(sizes)
        metrics.RECORDS.inc(len(sizes))

    async def _run(self, work: Work) -> None:
        try:
            await (self._handle(work) if tracing.tracer is None else traced(work, self._handle, self.settings.group))
        except asyncio.CancelledError:
            self._end(work)
            raise
        except BaseException as error:  # whatever it is, it ends the worker
            self._broke(work, error)

    def _broke(self, work: Work, error: BaseException) -> None:
        """A record that has no outcome: the process ends, and it comes again."""
        others = not work.entry.owner.live and self.health.phase is Phase.DRAINING  # nobody's concern any more
        if self.failure is None and not others:
            self._broke_down(error)  # at once: the key's next event must not overtake this one
        self._end(work)

    def _broke_down(self, error: BaseException) -> None:
        if not isinstance(error, KafkaError):  # that is not the record's fault
            self._isolation.keep()
        self._fail(error)
        self._crashing = asyncio.ensure_future(super().crash(error))

    def _give_back(self, work: Work) -> None:
        """Its next owner judges it."""
        metrics.DROPPED.inc()
        self._works.cancel(work)
        self._end(work)

    def _end(self, work: Work, *, answered: bool = False) -> None:
        """Nothing more is done about it. May be called twice."""
        if not self._works.end(work):
            return
        if work.traced is not None:
            work.traced.cancel()
        work.turn.leave()
        self._in_flight.finished(work.size)
        self._isolation.leave(work.case, answered=answered)

    # -- rebalances ---------------------------------------------------------------------------------------------------

    def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        self._progress.assign(partitions)
        self._count_partitions()
        if self.health.phase in (Phase.JOINING, Phase.REBALANCING):
            self.health.phase = Phase.RUNNING
        log.info("partitions assigned", partitions=sorted(each.partition for each in self._progress.owned))

    def _count_partitions(self) -> None:
        self.health.partitions = len(self._progress.owned)
        metrics.PARTITIONS.set(self.health.partitions)
        self._lag.keep(self._progress.owned)

    async def _revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Called before partitions go to another worker. The group waits for it."""
        gone = [each for each in partitions if each in self._progress.owned]
        if self.health.phase is Phase.RUNNING:
            self.health.phase = Phase.REBALANCING
        if gone and self.failure is None:
            metrics.REBALANCES.inc()
            await self._within(self.settings.revoke_drain_seconds, self._drain(gone), "started work was not finished")
        if gone and self.failure is None:
            await self._within(COMMIT_SECONDS, self._commits.now(), "no answer to the commit")
        self._progress.revoke(gone)
        self._count_partitions()
        for work in self._works:
            if not work.entry.owner.live and not work.handed_over:  # it was not finished in time
                self._give_back(work)

    async def _within(self, seconds: float, doing: Awaitable[object], late: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                await doing
        except TimeoutError:
            log.warning(f"{late} before the partitions went; the records come again")
        except Exception as error:  # aiokafka would only log it
            await self.crash(error)

    async def _drain(self, partitions: Collection[TopicPartition]) -> None:
        """Gives back what has not started of these partitions, waits for the rest. Ends early when something fails."""
        given_back = set(self._progress.to_give_back(partitions))
        for work in filter(lambda each: each.entry in given_back, self._works):
            self._give_back(work)
        leaving = [work for work in self._works if work.entry.owner.partition in partitions]
        while leaving and self.failure is None:
            await self._works.until_one_ends(0.5)
            leaving = self._works.unfinished(leaving)
