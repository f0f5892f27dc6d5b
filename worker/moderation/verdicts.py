"""Verdicts: what was found of a request, in the words of the contract."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from worker.contract.verdict import Coverage, Label, ModelRef, Scores, Source, Verdict, spelled_id_of
from worker.guards.turns import judged_role
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, Decision, GuardAnswer, decide
from worker.moderation.explanation import explain
from worker.moderation.request import Request
from worker.moderation.verdict_cache import Judgement


class VerdictWriter:
    """Writes the verdicts of one set of models."""

    def __init__(self, models: Sequence[ModelRef], *, event_in_reviews: bool) -> None:
        """`event_in_reviews`: review verdicts carry their event."""
        self._models, self._event_in_reviews = tuple(models), event_in_reviews
        self._stand_in = any(model.stand_in for model in models)

    def verdict_on(self, request: Request, judgement: Judgement, decided_at: datetime, seconds: float) -> Verdict:
        """The verdict on a request that was decided so many seconds after its arrival."""
        event, policy, record, decision = request.event, request.policy, request.record, judgement.decision
        carries_event = self._event_in_reviews and decision.label is Label.REVIEW
        return Verdict.of(
            {
                "verdict_id": spelled_id_of(record.topic, record.partition, record.offset, record.timestamp),
                "event_id": event.event_id,
                "conversation_id": event.conversation_id,
                "tenant": event.tenant,
                "label": decision.label,
                "reasons": decision.reasons,
                "explanation": explain(decision, policy, stand_in=self._stand_in),
                "violated_categories": decision.violated_categories,
                "prompt_attack": decision.prompt_attack,
                "judged_role": judged_role(event),
                "scores": _scores(decision),
                "policy": policy.ref,
                "models": self._models,
                "coverage": judgement.coverage,
                "source": Source(record.topic, record.partition, record.offset),
                "decided_at": decided_at,
                "latency_ms": int(seconds * 1e6) / 1000,
                "cached": request.cached,
                "metadata": event.metadata,
                "event": event if carries_event else None,
            }
        )


def judged(request: Request) -> Judgement:
    """What follows from the guards' answers to a request under its policy."""
    return Judgement(decide(request.answers, request.policy, request.scope.reasons), _coverage(request.answers))


def _scores(decision: Decision) -> Scores:
    """To six digits behind the point; the two that every event has, at a third of the cost of round()."""
    unsafe, attack, categories = decision.unsafe_score, decision.attack_score, decision.category_scores
    return Scores(
        None if unsafe is None else int(unsafe * 1e6 + 0.5) / 1e6,
        None if attack is None else int(attack * 1e6 + 0.5) / 1e6,
        {key: round(score, 6) for key, score in categories.items()} if categories else {},
    )


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


@lru_cache(1024)  # most events have one of a few: to build one anew each time would cost as much as to decide
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
