"""ShadowCase: one event on its way through the shadow, and which of the guards' answers it can share."""

from collections.abc import Iterable
from dataclasses import replace

from worker.contract.record import Record
from worker.contract.verdict import Label
from worker.guards.guard import Check
from worker.moderation.decision import LLAMA_GUARD, GuardAnswer
from worker.moderation.request import Request
from worker.moderation.scope import Scope, scope_of
from worker.policy.policy import Policy


class ShadowCase:
    """`answers` has the guards' answers to the event's own policy that answer the shadow's question as well."""

    def __init__(self, main: Request, label: Label, policy: Policy) -> None:
        """`main` is the request whose verdict has this label. It has the guards' answers still, where they were asked.
        Raises Unjudgeable as `scope_of`."""
        self.request = Request.about(main.event, policy, main.record, main.arrived)
        self.request.scope = self.scope = scope_of(main.event, policy)
        self.label, self.size = label, len(main.record.value or b"")
        self.stage = "decide"
        self.answers: dict[str, GuardAnswer] = {}
        if main.answers and self._is_what_was_judged(main.scope):
            shared = (answer for answer in main.answers if _answers(answer, main.policy, policy))
            self.answers = {answer.guard: _without_payloads(answer) for answer in shared}

    @property
    def record(self) -> Record:
        """The event's record."""
        return self.request.record

    def missing(self, guards: Iterable[str]) -> list[str]:
        """Those of the guards that must be asked for the shadow."""
        return [] if self.scope.event is None else [guard for guard in guards if guard not in self.answers]

    def _is_what_was_judged(self, main: Scope) -> bool:
        """Whether the guards saw what the shadow's policy wants them to: with the images, or without."""
        event = self.request.event
        return self.scope.event is not None and (main.event is event) == (self.scope.event is event)


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
