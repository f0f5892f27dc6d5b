"""Fakes that several tests share: deterministic, quick, without torch and Kafka."""

import time
from collections.abc import Callable, MutableSequence, Sequence
from typing import Final

from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Check, Finding, ModelId, Preparation
from worker.guards.turns import turns_of
from worker.policy.policy import Policy

FAKE_MODEL: Final = ModelId("fake", "local-000000000000", stand_in=True)

ScoreOf = Callable[[str], float | Finding]


class FakeGuard:
    """Judges the text of the last turn by a function, a check an event.

    `score_of` gets the text and gives its score, or a whole Finding (with categories, say). `delay` is in seconds a
    batch.
    """

    def __init__(
        self,
        name: str = "llama_guard",
        score_of: ScoreOf = lambda text: 0.0,
        delay: float = 0.0,
        *,
        roles: Sequence[str] = ("user", "assistant"),
        models: tuple[ModelId, ...] = (FAKE_MODEL,),
    ) -> None:
        self.name = name
        self.models = models
        self.batches: MutableSequence[list[str]] = []  # the texts of each judged batch
        self._score_of, self._delay, self._roles = score_of, delay, roles

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        """One check with the text of the last turn; none where its role is not this guard's."""
        turn = turns_of(event)[-1]
        if turn.role not in self._roles:
            return Preparation([])
        return Preparation([Check(len(turn.text) // 4 + 1, turn.text)], images=len(turn.images))

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        """What `score_of` says of each text. Raises what it raises."""
        texts = [check.payload for check in checks]
        self.batches.append(texts)
        if self._delay:
            time.sleep(self._delay)
        answers = [self._score_of(text) for text in texts]
        return [answer if isinstance(answer, Finding) else Finding(answer) for answer in answers]


def fake_llama_guard(score_of: ScoreOf = lambda text: 0.0, delay: float = 0.0) -> FakeGuard:
    """Judges what users and assistants say."""
    return FakeGuard("llama_guard", score_of, delay)


def fake_prompt_guard(score_of: ScoreOf = lambda text: 0.0, delay: float = 0.0) -> FakeGuard:
    """Judges what users and tools say."""
    return FakeGuard("prompt_guard", score_of, delay, roles=("user",))
