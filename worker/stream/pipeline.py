"""The way of the data, from top to bottom: records come in, their outcomes go out, their offsets are committed."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Unjudgeable
from worker.moderation.request import Request
from worker.observability import metrics, tracing
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream import spans
from worker.stream.dead_letters.stop import DeadLetterStop
from worker.stream.event_reader import EventReader
from worker.stream.in_flight import InFlight
from worker.stream.key_order import KeyOrder
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.progress import Progress
from worker.stream.start import Started
from worker.stream.work import Work, Works

_Step = Callable[["Pipeline", Any], None]


def _ends_the_worker_if_it_fails(step: _Step) -> _Step:
    """For a step that somebody's callback takes: the event loop would only log its error, and its events were lost."""

    @wraps(step)
    def guarded(pipeline: "Pipeline", works: Any) -> None:
        try:
            step(pipeline, works)
        except BaseException as error:  # whatever it is
            pipeline.break_down(error)

    return guarded


class Pipeline:
    """Records in, verdicts and dead letters out. Belongs to one event loop.

    Works go from step to step in lists: those of a fetch, of a batch of the guards, of a batch of the broker's.

    1. A partition's committed offset is the end of its finished prefix, never more.
    2. What is taken away is given back unless it has started; what has started is finished and committed.
    3. Anything unexpected ends the process; Kafka redelivers.
    4. What was in flight when the process was killed is judged alone.
    """

    def __init__(
        self, settings: Settings, health: Health, stop: DeadLetterStop, on_failure: Callable[[BaseException], object]
    ) -> None:
        """`on_failure` is told once what ends the worker."""
        self.progress: Progress[TopicPartition] = Progress()
        self.in_flight = InFlight(settings.max_in_flight_events, settings.max_in_flight_bytes)
        self.works = Works()
        self.failure: BaseException | None = None  # since then nothing leaves any more
        self._group, self._health, self._dead_letter_stop, self._on_failure = settings.group, health, stop, on_failure
        self._key_order = KeyOrder(kept=settings.ordering == "key")
        self._reader = EventReader(self._judge)

    def join(self, parts: Started, counts: OutcomeCounts) -> None:
        """To be called before the first record."""
        self._isolation, self._policies, self._moderator = parts.isolation, parts.policies, parts.moderator
        self._publisher, self._counts = parts.publisher, counts

    # -- the way ------------------------------------------------------------------------------------------------------

    @_ends_the_worker_if_it_fails
    def take(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Records were fetched, in offset order a partition. Each takes its places before any of them begins."""
        arrived, decide, taken = time.monotonic(), self._decide, list[Work]()
        for partition, records in fetched.items():
            if (owner := self.progress.of(partition)) is not None:
                works = [Work(record, arrived, decide, owner) for record in records]
                owner.take(works)
                taken += works
        if tracing.tracer is not None:
            for work in taken:
                work.span = spans.begun(work.record, self._group)
        self.works.begin(taken)
        self.in_flight.took([work.size for work in taken])
        self._key_order.enter(taken)
        metrics.RECORDS.inc(len(taken))
        self._reader.read(self._isolation.take(taken))

    @_ends_the_worker_if_it_fails
    def _judge(self, works: Sequence[Work]) -> None:
        """They are read: each has its event, or an error."""
        judgeable, others = list[Work](), list[Work]()
        for work in works:
            if work.error is None:
                try:
                    work.policy = self._policies.for_event(work.event)
                    judgeable.append(work)
                    continue
                except Unjudgeable as cause:
                    work.error = cause
            others.append(work)
        if judgeable:
            self._moderator.judge_all(judgeable)
        if others:
            self._decide(others)

    @_ends_the_worker_if_it_fails
    def _decide(self, requests: Sequence[Request]) -> None:
        """Each has its verdict, or an error. What cost nothing (a dead letter, a cached verdict) does not leave before
        all earlier ones of its partition have started: they would have to be finished before the partition goes."""
        works, ready, now = cast("Sequence[Work]", requests), list[Work](), time.monotonic()
        waiting = set()
        for work in works:
            work.decided, work.outcome = now, work.verdict
            if isinstance(work.error, Unjudgeable):
                # Not kept: by its traceback it holds the value and the work itself, and only a garbage collection would
                # find that.
                work.outcome, work.error = DeadLetter.of(work.record, work.error), None
            elif work.error is not None:
                self._broke((work,), work.error)
                continue
            if work.started:
                ready.append(work)
            else:
                work.waits_for_start = True
                waiting.add(work.owner)
        for owner in waiting:
            ready += owner.starting()
        self._publish(ready)

    @_ends_the_worker_if_it_fails
    def started(self, requests: Sequence[Request]) -> None:
        """The guards have begun with these."""
        for owner in {work.owner for work in cast("Sequence[Work]", requests)}:
            if starting := owner.starting():
                self._publish(starting)

    @_ends_the_worker_if_it_fails
    def _publish(self, works: Iterable[Work]) -> None:
        """Each leaves when the earlier ones of its key have left."""
        stale = []
        for work in works:
            leaving: Work | None = work
            # After a failure an earlier event of the key may not have left: nothing may overtake it.
            while leaving is not None and self.failure is None and self._key_order.may_leave(leaving):
                if leaving.owner.live:
                    leaving.handed_over = True
                    self._publisher.send(leaving)
                else:
                    stale.append(leaving)  # taken away while it was judged: the new owner publishes it
                leaving = self._key_order.leave(leaving)
        if stale:
            metrics.STALE.inc(len(stale))
            self._end(stale)

    def settled(self, works: Sequence[Work], error: BaseException | None) -> None:
        """The broker has their outcomes, or will not."""
        if error is None:
            self._finish(works)
        else:
            self._broke(works, error)

    @_ends_the_worker_if_it_fails
    def _finish(self, works: Sequence[Work]) -> None:
        """Their partitions' finished prefixes move on; commits follow these."""
        self.progress.done(works)
        self._counts.confirmed(works)
        self._dead_letter_stop.confirmed([work.outcome for work in works if work.outcome is not None])
        self._health.finished()
        for work in works:
            if work.span is not None and work.outcome is not None:
                spans.answered(work.span, work.outcome)
                work.span = None
        self._end(works, answered=True)
        for work in works:
            work.finished()

    def _end(self, works: Iterable[Work], *, answered: bool = False) -> None:
        """Nothing more is done about them. May be called twice."""
        ended = self.works.end(works)
        left = ended if answered else [work for work in ended if not work.held]
        self.in_flight.finished([work.size for work in ended])
        behind = []
        for work in ended:
            if work.span is not None:
                spans.given_back(work.span)
                work.span = None
            if not work.left_its_key and (following := self._key_order.leave(work)) is not None:
                behind.append(following)
        admitted = self._isolation.leave(left, answered=answered)
        if behind:
            self._publish(behind)
        if admitted and self.failure is None:
            self._reader.read(admitted)

    @_ends_the_worker_if_it_fails
    def let_go(self, requests: Sequence[Request]) -> None:
        """No thread is at these any more, which were given back. Until now they could kill the process, or hang: they
        were named in the journal, and a suspect was still alone."""
        admitted = self._isolation.leave(cast("Sequence[Work]", requests), answered=False)
        if admitted and self.failure is None:
            self._reader.read(admitted)

    # -- what goes wrong, and what goes away --------------------------------------------------------------------------

    def break_down(self, error: BaseException) -> None:
        """Something unexpected: the process ends, and what is in flight comes again."""
        if self.failure is not None:
            return
        if not isinstance(error, KafkaError):  # that is not the record's fault
            self._isolation.keep()
        self.failure = error
        self._on_failure(error)

    def lost(self, error: BaseException) -> None:
        """A batch hangs, or has lost the device, perhaps one of what was given back."""
        if self._health.phase is not Phase.DRAINING:  # then it ends anyway, and with an error if something waits for it
            self.break_down(error)

    def _broke(self, works: Sequence[Work], error: BaseException) -> None:
        """Records that have no outcome, or whose outcome does not get to the broker."""
        draining = self._health.phase is Phase.DRAINING
        if any(work.owner.live or not draining for work in works):  # the others are nobody's concern any more
            self.break_down(error)  # at once: the key's next event must not overtake this one
        for work in works:
            if work.span is not None:
                spans.failed(work.span, error)
                work.span = None
        self._end(works)

    def give_back(self, works: Iterable[Work]) -> None:
        """Their next owner judges them."""
        given_back = list(works)
        for work in given_back:  # all of them first: none shall take another one's place
            work.over, work.waits_for_start, work.waits_for_key = True, False, False
        for work in given_back:
            self._moderator.give_up(work)
        metrics.DROPPED.inc(len(given_back))
        self._end(given_back)

    @_ends_the_worker_if_it_fails
    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """These are another worker's from now on: what was not finished of them in time is given back."""
        gone = self.progress.revoke(partitions)
        self.give_back(work for work in self.works if not work.owner.live and not work.handed_over)
        for each in gone:
            each.forget()

    async def drain(self, partitions: Collection[TopicPartition]) -> None:
        """Gives back what has not started of these partitions, waits for the rest. Ends early when something fails."""
        self.give_back(self.progress.to_give_back(partitions))
        leaving = [work for work in self.works if work.owner.partition in partitions]
        while leaving and self.failure is None:
            await self.works.until_some_end(0.5)
            leaving = self.works.unfinished(leaving)
