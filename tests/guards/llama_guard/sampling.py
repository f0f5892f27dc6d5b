"""Conversations at random, as questions to the model, and how far two answers are apart."""

import random
from dataclasses import dataclass
from typing import Any

from worker.guards.guard import Finding
from worker.guards.llama_guard.one_pass import Question
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.corpus import conversation


@dataclass(frozen=True)
class Sample:
    chat: list[dict[str, Any]]
    excluded: list[str]

    @property
    def turns(self) -> list[PromptTurn]:
        return [
            PromptTurn(
                message["role"],
                message["content"][-1]["text"],
                tuple(part["image"] for part in message["content"][:-1]),
            )
            for message in self.chat
        ]


def samples(count: int, seed: int = 3) -> list[Sample]:
    rng = random.Random(seed)
    drawn = []
    for number in range(count):
        chat = conversation(
            rng,
            "assistant" if number % 3 == 2 else "user",
            pictures=rng.randint(1, 3) if number % 4 == 1 else 0,
            earlier=2 * (number % 2),
        )
        excluded = rng.sample(CATEGORY_KEYS, rng.randint(1, 5)) if number % 5 == 3 else []
        drawn.append(Sample([message.as_chat() for message in chat], excluded))
    return drawn


def differences(one: list[Finding], other: list[Finding]) -> float:
    worst = 0.0
    for mine, theirs in zip(one, other, strict=True):
        assert (mine.fault, mine.categories) == (theirs.fault, theirs.categories)
        if mine.score is not None and theirs.score is not None:
            worst = max(worst, abs(mine.score - theirs.score))
        for key, score in mine.category_scores.items():
            worst = max(worst, abs(score - theirs.category_scores[key]))
    return worst


def questions(processor: Any, drawn: list[Sample]) -> list[Question]:
    prompts = Prompts(processor)
    return [Question(prompts.render(sample.turns, sample.excluded)) for sample in drawn]
