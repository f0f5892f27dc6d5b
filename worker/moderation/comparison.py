"""Comparison: the same events under old and new policies, judged once where the guards' answer must be the same."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.moderation.decision import Decision, GuardAnswer, decide
from worker.moderation.explanation import explain
from worker.moderation.panel import Panel
from worker.moderation.request import Request, answered
from worker.moderation.scope import Scope, scope_of
from worker.policy.policy import Policy
from worker.policy.store import PolicyStore

_AT_ONCE: Final = 256  # events on their way: enough for full batches

DEAD_LETTER: Final = "dead letter"


@dataclass(frozen=True, slots=True)
class Side:
    """What becomes of an event under one set of policies."""

    outcome: str  # the label, or DEAD_LETTER
    violated_categories: tuple[str, ...]
    prompt_attack: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One line, under both."""

    line: int
    event_id: str | None  # None: the line is no event
    old: Side
    new: Side

    @property
    def differs(self) -> bool:
        """Whether a consumer would see something else than before."""
        return _seen(self.old) != _seen(self.new)


@dataclass(slots=True)
class Tally:
    """What the comparison came to so far."""

    events: int = 0
    judged_twice: int = 0  # because the policies put different questions to the guards
    unreadable: int = 0  # lines that are no events, under either
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (old, new) -> events


class Comparison:
    """Compares two sets of policies on events."""

    def __init__(
        self,
        panel: Panel,
        old: PolicyStore,
        new: PolicyStore,
        *,
        default_policy: str | None = None,
        stand_in: bool = False,
    ) -> None:
        """`panel`: one that calls each request's `then`. `default_policy`: for events that name none. `stand_in`:
        explanations say that a stand-in took part."""
        self._panel, self._old, self._new = panel, old, new
        self._default_policy, self._stand_in = default_policy, stand_in
        self.tally = Tally()

    async def compare(self, lines: Iterable[bytes]) -> AsyncIterator[Compared]:
        """Each line that is an event under both, in the order of the lines."""
        on_the_way: deque[asyncio.Task[Compared | None]] = deque()
        try:
            for number, line in enumerate(lines, 1):
                on_the_way.append(asyncio.create_task(self._line(number, line)))
                if len(on_the_way) >= _AT_ONCE and (compared := await on_the_way.popleft()):
                    yield compared
            while on_the_way:
                if compared := await on_the_way.popleft():
                    yield compared
        finally:
            for task in on_the_way:
                task.cancel()

    async def _line(self, number: int, line: bytes) -> Compared | None:
        try:
            event = read_chat_event(line)
        except Unjudgeable:
            self.tally.unreadable += 1
            return None
        if event.policy is None and self._default_policy is not None:
            event = event.model_copy(update={"policy": self._default_policy})
        old, new = await self._sides(event)
        self.tally.events += 1
        self.tally.outcomes[old.outcome, new.outcome] += 1
        return Compared(number, event.event_id, old, new)

    async def _sides(self, event: ChatEvent) -> tuple[Side, Side]:
        chosen = [_choose(policies, event) for policies in (self._old, self._new)]
        asked = [each for each in chosen if isinstance(each, tuple) and each[1].event is not None]
        answers: dict[tuple[tuple[str, ...], int], Sequence[GuardAnswer] | Unjudgeable] = {}
        for policy, scope in asked:
            question = _question(policy, event, scope)
            if question not in answers and scope.event is not None:
                answers[question] = await self._answers(scope.event, _widest([each for each, _ in asked], policy))
        self.tally.judged_twice += len(answers) > 1
        sides = []
        for each in chosen:
            if isinstance(each, Unjudgeable):
                sides.append(_dead(each))
                continue
            policy, scope = each
            found = answers.get(_question(policy, event, scope), []) if scope.event is not None else []
            sides.append(_dead(found) if isinstance(found, Unjudgeable) else self._side(found, policy, scope))
        return sides[0], sides[1]

    async def _answers(self, event: ChatEvent, policy: Policy) -> Sequence[GuardAnswer] | Unjudgeable:
        request = Request.about(event, policy, PlainRecord("compare", 0, 0), 0.0)
        request.scope = Scope(event)
        try:
            await answered(request, self._panel.ask, self._panel.give_up)
        except Unjudgeable as cause:
            return cause
        return request.answers

    def _side(self, answers: Sequence[GuardAnswer], policy: Policy, scope: Scope) -> Side:
        decision: Decision = decide(answers, policy, scope.reasons)
        words = explain(decision, policy, stand_in=self._stand_in)
        return Side(decision.label.value, decision.violated_categories, decision.prompt_attack, words)


def _choose(policies: PolicyStore, event: ChatEvent) -> tuple[Policy, Scope] | Unjudgeable:
    try:
        policy = policies.for_event(event)
        return policy, scope_of(event, policy)
    except Unjudgeable as cause:
        return cause


def _question(policy: Policy, event: ChatEvent, scope: Scope) -> tuple[tuple[str, ...], int]:
    """What the guards' answer depends on: the prompt's categories, and whether images are taken away."""
    return policy.excluded_from_prompt, 0 if scope.event is event else 1


def _widest(policies: list[Policy], like: Policy) -> Policy:
    """A policy that asks as `like` does, and has categories named as soon as any of `policies` wants them."""
    wanted_from = min(policy.categories_wanted_from for policy in policies)
    return Policy(name="both", excluded_categories=like.excluded_from_prompt, unsafe_threshold=wanted_from)


def _dead(cause: Unjudgeable) -> Side:
    return Side(DEAD_LETTER, (), False, f"{DEAD_LETTER}: {cause.error_type}")


def _seen(side: Side) -> tuple[str, tuple[str, ...], bool]:
    return side.outcome, side.violated_categories, side.prompt_attack
