"""Event -> verdict: the worker's reason to be, without Kafka."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

from worker.contract.chat_event import ChatEvent
from worker.contract.record import Record
from worker.contract.verdict import Coverage, Label, ModelRef, PolicyRef, Scores, Source, Verdict, spelled_id_of
from worker.guards.guard import Guard, Preparation
from worker.guards.runner import DeviceThread
from worker.guards.turns import judged_role
from worker.moderation.content_key import content_key, content_stays
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, Decision, GuardAnswer, decide
from worker.moderation.explanation import explain
from worker.moderation.guard_lane import Answers, GuardLane, PlainTicket, Ticket
from worker.moderation.preparer import Preparer
from worker.moderation.quiet import Quiet
from worker.moderation.scope import Scope, scope_of
from worker.moderation.single_flight import SingleFlight
from worker.moderation.spare_time import SpareTime
from worker.moderation.verdict_cache import Judgement, VerdictCache
from worker.observability import metrics
from worker.policy.policy import Policy
from worker.settings import Settings

_BATCHES_AHEAD = 4  # two in the air, and as much again to choose neighbours in length from

_GUARD_SECONDS = metrics.STAGE.labels("guard")

Hear = Callable[[Sequence[GuardAnswer]], object]


@dataclass(slots=True)
class Origin:
    """Where an event comes from; its verdict's id follows from it."""

    source: Source
    verdict_id: str
    record: Record | None = None

    @classmethod
    def of(cls, record: Record) -> "Origin":
        """The origin of a Kafka record."""
        origin = cls.at(record.topic, record.partition, record.offset, record.timestamp)
        origin.record = record
        return origin

    @classmethod
    def at(cls, topic: str, partition: int, offset: int, timestamp_ms: int) -> "Origin":
        """The origin by its coordinates."""
        source = Source(topic=topic, partition=partition, offset=offset)
        return cls(source, spelled_id_of(topic, partition, offset, timestamp_ms))


@dataclass(frozen=True, slots=True)
class ModeratorOptions:
    """How a moderator batches, what it keeps, and what its verdicts carry."""

    batch_tokens: dict[str, int]  # by guard name: most padded tokens of a batch
    batch_wait: float = 0.005  # seconds that a check waits for company while its guard is idle
    batch_timeout: float = math.inf  # seconds after which a batch on the device counts as hanging
    breaker_failures: int = 50  # checks of a guard that fail in a row, after which it counts as down; 0: never
    prepare_threads: int = 2
    event_in_review_verdicts: bool = False
    verdict_cache_bytes: int = 64 << 20  # of judgements to use again on identical content; 0: every event is judged

    @classmethod
    def of(cls, settings: Settings) -> "ModeratorOptions":
        """The options as the settings have them."""
        return cls(
            batch_tokens={
                LLAMA_GUARD: settings.llama_guard_batch_tokens,
                PROMPT_GUARD: settings.prompt_guard_batch_tokens,
            },
            batch_wait=settings.batch_wait_ms / 1000,
            batch_timeout=settings.batch_timeout_seconds,
            breaker_failures=settings.guard_breaker_failures,
            prepare_threads=settings.prepare_threads,
            event_in_review_verdicts=settings.event_in_review_verdicts,
            verdict_cache_bytes=settings.verdict_cache_bytes,
        )


class Moderator:
    """Judges events with all guards. Belongs to the event loop that constructs it; `close` it when done."""

    def __init__(
        self,
        guards: Sequence[Guard],
        options: ModeratorOptions,
        *,
        on_guard_down: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_guard_down` is called with the name of a guard that is down: verdicts say `guard_unavailable` from then
        on, until the guard answers again."""
        for guard in guards:
            if guard.name not in options.batch_tokens:  # its findings would be overlooked, and that means safe
                raise ValueError(f"no batch budget and no rule of decision for a guard named {guard.name!r}")
        self._guards, self._options, self._clock, self._now = tuple(guards), options, clock, now
        self._quiet: Quiet | None = None  # kept only for whoever wants the guards' spare time
        self._device = DeviceThread()
        most_ahead = _BATCHES_AHEAD * sum(options.batch_tokens[guard.name] for guard in guards)
        self._preparer = Preparer(guards, options.prepare_threads, most_ahead)
        self._lanes = [
            GuardLane(
                guard,
                self._device,
                batch_tokens=options.batch_tokens[guard.name],
                max_wait=options.batch_wait,
                timeout=options.batch_timeout,
                breaker_failures=options.breaker_failures,
                on_guard_down=on_guard_down and partial(on_guard_down, guard.name),
                clock=clock,
            )
            for guard in guards
        ]
        self._models = tuple(
            ModelRef(id=model.id, revision=model.revision, stand_in=model.stand_in)
            for guard in guards
            for model in guard.models
        )
        self._stand_in = any(model.stand_in for model in self._models)
        cache = VerdictCache(options.verdict_cache_bytes) if options.verdict_cache_bytes else None
        self._single_flight = None if cache is None else SingleFlight(cache)

    async def judge(
        self,
        event: ChatEvent,
        policy: Policy,
        origin: Origin,
        arrived: float,
        ticket: Ticket | None = None,
        hear: Hear | None = None,
    ) -> Verdict:
        """The verdict on an event that arrived at `arrived` (seconds, on the moderator's clock).

        Raises Unjudgeable where there can be none. `ticket` tells whether the work has started; that of a verdict with
        `cached` stays as it is, because it cost nothing. `hear` is told what the guards said, where they were asked.
        """
        judge = partial(self._judgement, event, policy, ticket or PlainTicket(), hear)
        if self._single_flight is None or not content_stays(event):
            judgement, cached = await judge(), False
        else:
            judgement, cached = await self._single_flight.judge(await content_key(event, policy), judge)
        return self._verdict(event, policy, origin, arrived, judgement, cached=cached)

    def decided(
        self,
        event: ChatEvent,
        policy: Policy,
        origin: Origin,
        arrived: float,
        answers: Sequence[GuardAnswer],
        scope: Scope,
    ) -> Verdict:
        """The verdict that follows from the guards' answers."""
        return self._verdict(event, policy, origin, arrived, _judged(answers, policy, scope), cached=False)

    def spare_time(self) -> SpareTime:
        """The same guards on the same device, while no event needs them. To be called before the first event."""
        self._quiet = Quiet()
        return SpareTime(self._guards, self._device, self._quiet, self._options.batch_timeout)

    def close(self) -> None:
        """Ends the threads; work that has not started is given up."""
        self._preparer.close()
        self._device.close()

    async def answers(self, event: ChatEvent, policy: Policy, ticket: Ticket | None = None) -> list[GuardAnswer]:
        """What the guards say of an event, undecided and from no cache. Raises Unjudgeable."""
        if self._quiet is not None:
            self._quiet.enter()
        try:
            preparations = await self._preparer.prepare(event, policy)
            try:
                return await self._answers(preparations, ticket or PlainTicket())
            finally:
                self._preparer.done_with(preparations)
        finally:
            if self._quiet is not None:
                self._quiet.leave()

    async def _judgement(self, event: ChatEvent, policy: Policy, ticket: Ticket, hear: Hear | None) -> Judgement:
        scope = scope_of(event, policy)
        answers = [] if scope.event is None else await self.answers(scope.event, policy, ticket)
        if hear is not None:
            hear(answers)
        return _judged(answers, policy, scope)

    async def _answers(self, preparations: Sequence[Preparation], ticket: Ticket) -> list[GuardAnswer]:
        began, answers = self._clock(), Answers(ticket)
        for lane, preparation in zip(self._lanes, preparations, strict=True):
            lane.submit(preparation.checks, answers)
        answers.came()
        findings = await answers.future
        _GUARD_SECONDS.observe(self._clock() - began)
        for lane, found in zip(self._lanes, findings, strict=True):
            for finding in found:
                if finding.fault is not None:
                    metrics.FAULTS.labels(lane.guard.name, finding.fault.value).inc()
        return [
            GuardAnswer(lane.guard.name, each, found)
            for lane, each, found in zip(self._lanes, preparations, findings, strict=True)
        ]

    def _verdict(
        self,
        event: ChatEvent,
        policy: Policy,
        origin: Origin,
        arrived: float,
        judgement: Judgement,
        *,
        cached: bool,
    ) -> Verdict:
        decision = judgement.decision
        carries_event = decision.label is Label.REVIEW and self._options.event_in_review_verdicts
        return Verdict(
            verdict_id=origin.verdict_id,
            event_id=event.event_id,
            conversation_id=event.conversation_id,
            tenant=event.tenant,
            label=decision.label,
            reasons=decision.reasons,
            explanation=explain(decision, policy, stand_in=self._stand_in),
            violated_categories=decision.violated_categories,
            prompt_attack=decision.prompt_attack,
            judged_role=judged_role(event),
            scores=_scores(decision),
            policy=_policy_ref(policy.name, policy.hash),
            models=self._models,
            coverage=judgement.coverage,
            source=origin.source,
            decided_at=self._now(),
            latency_ms=round((self._clock() - arrived) * 1000, 3),
            cached=cached,
            metadata=event.metadata,
            event=event if carries_event else None,
        )


def _judged(answers: Sequence[GuardAnswer], policy: Policy, scope: Scope) -> Judgement:
    return Judgement(decide(answers, policy, scope.reasons), _coverage(answers))


def _scores(decision: Decision) -> Scores:
    scores = decision.category_scores
    return Scores(
        unsafe=_rounded(decision.unsafe_score),
        prompt_attack=_rounded(decision.attack_score),
        categories={key: round(score, 6) for key, score in scores.items()} if scores else {},
    )


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)


def _coverage(answers: Sequence[GuardAnswer]) -> Coverage:
    llama_guard = prompt_guard = images = dropped = neutralised = 0
    complete = True
    for answer in answers:
        preparation = answer.preparation
        if answer.guard == LLAMA_GUARD:
            llama_guard = len(preparation.checks)
        elif answer.guard == PROMPT_GUARD:
            prompt_guard = len(preparation.checks)
        images += preparation.images
        dropped += preparation.turns_dropped
        neutralised += preparation.delimiters_neutralised
        complete = complete and preparation.complete
    return _coverage_of(llama_guard, prompt_guard, images, dropped, complete, neutralised)


# Most events have one of a few coverages and policies: to build one anew each time would cost as much as to decide.


@lru_cache(1024)
def _coverage_of(
    llama_guard: int, prompt_guard: int, images: int, dropped: int, complete: bool, neutralised: int
) -> Coverage:
    return Coverage(
        llama_guard_windows=llama_guard,
        prompt_guard_windows=prompt_guard,
        images=images,
        turns_dropped=dropped,
        complete=complete,
        delimiters_neutralised=neutralised,
    )


@lru_cache(1024)
def _policy_ref(name: str, digest: str) -> PolicyRef:
    return PolicyRef(name=name, hash=digest)
