"""The way of the data, from top to bottom: a record comes in, its outcome goes out, its offset is committed."""

import asyncio
import time
from collections.abc import Iterable, Mapping

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from worker.contract.chat_event import read_chat_event
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Unjudgeable
from worker.exit_codes import ExitCode
from worker.moderation.moderator import Moderator, Origin
from worker.observability import metrics, tracing
from worker.observability.health import Health, Phase
from worker.policy.store import PolicyStore
from worker.settings import Settings
from worker.stream.commits import Commits
from worker.stream.dead_letter_stop import DeadLetterStop
from worker.stream.in_flight import InFlight
from worker.stream.isolation import Isolation
from worker.stream.key_order import KeyOrder
from worker.stream.lag import Lag
from worker.stream.last_resort import CRASH_SECONDS, end_process_in
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.progress import Progress
from worker.stream.publisher import Outcome, Publisher
from worker.stream.raw_records import RawRecord
from worker.stream.source import COMMIT_SECONDS, Source, lost_after
from worker.stream.spans import event_span, tell
from worker.stream.start import LoadGuards, Started, start
from worker.stream.work import Work

log = structlog.get_logger(__name__)

_STOP_WHILE_LOADING_SECONDS = 2.0  # nothing is in flight yet


class Pipeline(faust.Service):  # type: ignore[misc]
    """Chat events in, verdicts and dead letters out. Faust starts, supervises and stops it.

    1. A partition's committed offset is the end of its finished prefix, never more.
    2. Where nothing is outstanding it is the consumer's position: over transaction markers and compaction's holes.
    3. What is taken away is given back unless it has started; what has started is finished, up to a deadline, and
    committed.
    4. Anything unexpected ends the process; Kafka redelivers.
    5. What was in flight when the process was killed is judged alone.
    """

    def __init__(self, settings: Settings, load: LoadGuards, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self._load = load
        self.health = Health(settings.stuck_after_seconds, lost_after(settings))
        self.failure: BaseException | None = None
        self.orderly_stop = OrderlyStop()
        self._dead_letter_stop = DeadLetterStop(settings, self.orderly_stop)
        self._parts: Started | None = None
        self._tasks: list[asyncio.Future[None]] = []

    @property
    def loading(self) -> bool:
        """Whether the models are still on their way, on a thread that cannot be stopped."""
        return self._parts is None and self.failure is None

    # -- the story of one record --------------------------------------------------------------------------------------

    async def _handle(self, work: Work) -> None:
        record = work.record
        outcome = await self._outcome_of(work)
        work.decided = time.monotonic()
        if not work.entry.started:  # it cost nothing: a dead letter, a cached verdict, one without the guards
            await self._earlier_ones_started(work)
        work.entry.started = True
        await work.turn.wait()
        if self.failure is not None:
            return  # an earlier event of this key may not have left: nothing may overtake it
        if not work.entry.owner.live:
            metrics.STALE.inc()  # taken away while it was judged: the new owner publishes it
            return
        sent = await self._publisher.send(outcome, record)
        work.turn.leave()
        await sent.confirmed
        self._progress.done(work.entry)
        self._confirmed(work, sent.outcome)

    async def _traced(self, work: Work) -> None:
        with event_span(work.record, self.settings.group):
            await self._handle(work)

    async def _outcome_of(self, work: Work) -> Outcome:
        try:
            await self._isolation.admitted(work.case)
            if isinstance(work.record, RawRecord):
                work.record.check()
            event = read_chat_event(work.record.value)
            policy = self._policies.for_event(event)
            return await self._moderator.judge(event, policy, Origin.of(work.record), work.arrived, work.entry)
        except Unjudgeable as cause:
            return DeadLetter.of(work.record, cause)

    async def _earlier_ones_started(self, work: Work) -> None:
        reached = asyncio.Event()
        work.entry.when_all_before_started(reached.set)
        await reached.wait()

    def _confirmed(self, work: Work, outcome: Outcome) -> None:
        self._counts.confirmed(outcome, work.arrived, work.decided)
        if tracing.tracer is not None:
            tell(outcome)
        self._dead_letter_stop.confirmed(outcome)
        self.health.finished()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Loads the models, checks Kafka, joins the group."""
        self._progress: Progress[TopicPartition] = Progress()
        self._key_order = KeyOrder(kept=self.settings.ordering == "key")
        self._in_flight = InFlight(self.settings.max_in_flight_events, self.settings.max_in_flight_bytes)
        self._running: dict[asyncio.Task[None], Work] = {}
        metrics.OLDEST_UNFINISHED.follow(self._oldest_unfinished)
        try:
            self._parts = await start(self.settings, self._load, self.orderly_stop.guard_down)
            self._moderator: Moderator = self._parts.moderator
            self._policies: PolicyStore = self._parts.policies
            self._counts = OutcomeCounts(self._policies.tenants[: self.settings.metrics_tenants])
            self._source: Source = self._parts.source
            self._publisher: Publisher = self._parts.publisher
            self._isolation: Isolation = self._parts.isolation
            self._lag = Lag(self._source.ends, self._progress)
            self._commits = Commits(self._source, self._progress, self._isolation.committed)
            self.health.phase = Phase.JOINING
            await self._source.start(self._assigned, self._revoked, self.crash)
        except Exception as error:
            self.failure = error
            self.health.phase = Phase.FAILED
            raise
        interval, gone = self.settings.commit_interval_seconds, self.settings.input_gone_seconds
        often = (self._commits.often(interval, gone), self._lag.often())
        self._tasks = [self.add_future(each) for each in (self._intake(), *often)]

    async def on_stop(self) -> None:
        """Takes nothing more, finishes what has started, commits, leaves the group."""
        if self._parts is None:
            if self.loading:
                end_process_in(_STOP_WHILE_LOADING_SECONDS, ExitCode.OK)
            else:
                end_process_in(CRASH_SECONDS, ExitCode.CRASH)
            return
        self._isolation.end()
        failed = self.crashed or self.failure is not None  # mode marks every service when one of them crashes
        self.health.phase = Phase.FAILED if failed else Phase.DRAINING
        if failed:
            end_process_in(CRASH_SECONDS, ExitCode.CRASH)
        else:
            end_process_in(self.settings.drain_seconds, ExitCode.DRAIN_DEADLINE)
        for task in self._tasks[:1]:  # the intake; the commits go on
            task.cancel()
        if not failed:
            await self._drain(self._progress.owned)
            await self._commits.now()
        for task in self._tasks[1:]:
            task.cancel()
        await self._source.stop()
        await self._publisher.stop()
        self._moderator.close()
        log.info("stopped", failed=failed, unfinished=len(self._running))

    async def crash(self, reason: BaseException) -> None:
        """Something unexpected: the process ends, with or without the event loop's help."""
        if self.failure is None:
            self._fail(reason)
        await super().crash(reason)

    def _fail(self, reason: BaseException) -> None:
        self.failure = reason
        self.health.phase = Phase.FAILED
        log.error("crashed", cause=f"{type(reason).__name__}: {reason}")
        end_process_in(CRASH_SECONDS, ExitCode.CRASH)

    # -- intake -------------------------------------------------------------------------------------------------------

    async def _intake(self) -> None:
        while not self.orderly_stop.asked:
            self.health.polled(self._in_flight.events)
            if room := self._in_flight.room:
                self._take(await self._source.fetch(room))
            else:
                await self._in_flight.wait_for_room(0.1)
                await self._source.stay()

    def _take(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        arrived, sizes = time.monotonic(), []
        handle = self._handle if tracing.tracer is None else self._traced
        for partition, records in fetched.items():
            for record in records:
                entry = self._progress.take(partition, record.offset)
                if entry is None:
                    continue
                turn, case = self._key_order.enter(record.key), self._isolation.arrive(record)
                work = Work(record, entry, turn, case, arrived)
                task = asyncio.create_task(handle(work))
                self._running[task] = work
                task.add_done_callback(self._ended)
                sizes.append(work.size)
        self._isolation.admit()  # none of them has begun yet
        self._in_flight.took(sizes)
        metrics.RECORDS.inc(len(sizes))

    def _oldest_unfinished(self) -> float:
        """Seconds since the oldest event in flight arrived. On the thread that serves /metrics."""
        arrivals = [work.arrived for work in list(self._running.values())]
        return time.monotonic() - min(arrivals) if arrivals else 0.0

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._running.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            metrics.DROPPED.inc()
        elif error is not None and self.failure is None and not self._leaving_it(work):
            if not isinstance(error, KafkaError):  # that is not the record's fault
                self._isolation.keep()
            self._fail(error)  # at once: the key's next event must not overtake this one
            self._crashing = asyncio.ensure_future(super().crash(error))
        work.turn.leave()
        self._in_flight.finished(work.size)
        self._isolation.leave(work.case, answered=error is None and not task.cancelled())

    def _leaving_it(self, work: Work) -> bool:
        """Whether a failure of this work is nobody's concern: it is another worker's by now, and we are stopping."""
        return not work.entry.owner.live and self.health.phase is Phase.DRAINING

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
        try:
            if gone and self.failure is None:
                metrics.REBALANCES.inc()
                async with asyncio.timeout(self.settings.revoke_drain_seconds):
                    await self._drain(gone)
        except TimeoutError:
            log.warning(
                "started work was not finished before the partitions went; it comes again", partitions=len(gone)
            )
        except Exception as error:  # aiokafka would only log it
            await self.crash(error)
        await self._commit_and_forget(gone)

    async def _commit_and_forget(self, gone: list[TopicPartition]) -> None:
        try:
            if gone and self.failure is None:
                async with asyncio.timeout(COMMIT_SECONDS):
                    await self._commits.now()
        except TimeoutError:
            log.warning("no answer to the commit before the partitions went; the records come again")
        except Exception as error:  # aiokafka would only log it
            await self.crash(error)
        self._progress.revoke(gone)
        self._count_partitions()
        for task, work in self._running.items():
            if not work.entry.owner.live:  # what was not finished in time: its new owner judges it
                task.cancel()

    async def _drain(self, partitions: Iterable[TopicPartition]) -> None:
        """Gives back what has not started of these partitions and waits for the rest. Ends early when something
        fails."""
        given_back = set(self._progress.to_give_back(partitions))
        leaving, chosen = [], set(partitions)
        for task, work in self._running.items():
            if work.entry in given_back:
                task.cancel()
            if work.entry.owner.partition in chosen:
                leaving.append(task)
        while leaving and self.failure is None:
            _, pending = await asyncio.wait(leaving, timeout=0.5)
            leaving = list(pending)
