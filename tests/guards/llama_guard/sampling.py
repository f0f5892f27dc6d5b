"""Conversations at random, as events and as questions to the model, and how far two answers are apart."""

import random
from dataclasses import dataclass
from typing import Any

from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Finding
from worker.guards.llama_guard.one_pass import Question
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.policy.policy import Policy
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.corpus import conversation, noise
from worker.standins.pictures import in_base64


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

    @property
    def event(self) -> ChatEvent:
        """As it comes from Kafka."""
        messages = [
            {"role": message["role"], "content": [_as_part(part) for part in message["content"]]}
            for message in self.chat
        ]
        return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": messages})

    @property
    def policy(self) -> Policy:
        return Policy(name="sample", excluded_categories=tuple(self.excluded))

    @property
    def kinds(self) -> set[str]:
        images = sum(len(turn.images) for turn in self.turns)
        named = {
            "user": self.chat[-1]["role"] == "user",
            "assistant": self.chat[-1]["role"] == "assistant",
            "exclusions": bool(self.excluded),
            "one image": images == 1,
            "several images": images > 1,
            "earlier turns": len(self.chat) > 2,
        }
        return {kind for kind, is_it in named.items() if is_it}


def _as_part(part: dict[str, Any]) -> dict[str, str]:
    if part["type"] == "text":
        return part
    return {"type": "image", "data": in_base64(part["image"])}


def samples(count: int, seed: int = 3) -> list[Sample]:
    """Both roles, alone and after earlier turns, with and without images (up to 3) and exclusions, odd texts too."""
    rng = random.Random(seed)
    drawn = []
    for number in range(count):
        messages = conversation(
            rng,
            "assistant" if number % 3 == 2 else "user",
            pictures=rng.randint(1, 3) if number % 4 == 1 else 0,
            earlier=rng.choice((0, 2)),
        )
        if number % 10 == 7:
            messages[-1].text = rng.choice((noise(rng), noise(rng), "", " \n "))
        excluded = rng.sample(CATEGORY_KEYS, rng.randint(1, 5)) if number % 5 == 3 else []
        drawn.append(Sample([message.as_chat() for message in messages], excluded))
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
