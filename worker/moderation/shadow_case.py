"""ShadowCase: one event on its way through the shadow, and which of the guards' answers it can share."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from worker.contract.chat_event import ChatEvent
from worker.contract.record import Record
from worker.contract.verdict import Label
from worker.guards.guard import Check
from worker.moderation.decision import LLAMA_GUARD, GuardAnswer
from worker.moderation.moderator import Origin
from worker.moderation.scope import scope_of
from worker.policy.policy import Policy


class ShadowCase:
    """`answers` has the guards' answers to the event's own policy that answer the shadow's question as well."""

    def __init__(
        self,
        event: ChatEvent,
        main: Policy,
        policy: Policy,
        origin: Origin,
        record: Record,
        arrived: float,
        label: Label,
        heard: Sequence[GuardAnswer],
        size: int,
    ) -> None:
        """`main` is the policy that gave the event its `label`, `heard` what the guards said then; empty where they
        were not asked. Raises Unjudgeable as `scope_of`."""
        self.event, self.policy, self.origin, self.record = event, policy, origin, record
        self.arrived, self.label, self.size = arrived, label, size
        self.scope = scope_of(event, policy)
        self.stage = "decide"
        self.answers: dict[str, GuardAnswer] = {}
        if heard and self.scope.event is not None and self._is_what_was_judged(main):
            shared = (answer for answer in heard if _answers(answer, main, policy))
            self.answers = {answer.guard: _without_payloads(answer) for answer in shared}

    def missing(self, guards: Iterable[str]) -> list[str]:
        """Those of the guards that must be asked for the shadow."""
        return [] if self.scope.event is None else [guard for guard in guards if guard not in self.answers]

    def _is_what_was_judged(self, main: Policy) -> bool:
        """Whether the guards saw what the shadow's policy wants them to: with the images, or without."""
        seen = scope_of(self.event, main).event
        return seen is not None and (seen is self.event) == (self.scope.event is self.event)


def _answers(answer: GuardAnswer, main: Policy, policy: Policy) -> bool:
    """Whether what a guard said under `main` is what it would say under `policy`."""
    if answer.guard != LLAMA_GUARD:
        return True
    if main.excluded_from_prompt != policy.excluded_from_prompt:
        return False
    # Categories are named from a score on that the policy says.
    named_from, wanted_from = main.categories_wanted_from, policy.categories_wanted_from
    return all(
        finding.score is None or finding.categories or not wanted_from <= finding.score < named_from
        for finding in answer.findings
    )


def _without_payloads(answer: GuardAnswer) -> GuardAnswer:
    """Prepared images are a hundred times as large as their files."""
    checks = [Check(check.tokens, None) for check in answer.preparation.checks]
    return GuardAnswer(answer.guard, replace(answer.preparation, checks=checks), answer.findings)
