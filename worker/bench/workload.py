"""Workloads: chat events of known lengths, for benchmarks."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.contract.chat_event import ChatEvent
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.planning.lengths import LENGTHS
from worker.policy.policy import Policy
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.corpus import harmless
from worker.standins.pictures import in_base64, picture


@dataclass(frozen=True, slots=True)
class Workload:
    """What is judged."""

    lengths: str = "chat"  # a name of LENGTHS
    messages: int = 64
    policies: int = 1  # with different exclusions
    images: float = 0.0  # the share of messages with an image
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One event under one policy, and the same as the release's snippet takes it."""

    event: ChatEvent
    policy: Policy
    chat: Sequence[Mapping[str, Any]]
    prompt_tokens: int  # of the whole prompt


def jobs_of(workload: Workload, prompts: Prompts) -> list[Job]:
    """The jobs of a workload; the same seed gives the same ones. `prompts` counts the tokens."""
    rng = random.Random(workload.seed)
    policies = [_policy(number) for number in range(workload.policies)]
    with_image = round(workload.messages * workload.images)
    numbers = list(range(workload.messages))
    pictured = set(rng.sample(numbers, with_image))
    return [
        _job(rng, number, LENGTHS[workload.lengths](rng), policies[number % len(policies)], number in pictured, prompts)
        for number in numbers
    ]


def _policy(number: int) -> Policy:
    """Policies exclude what the bits of their number say."""
    return Policy(
        name=f"bench-{number}",
        excluded_categories=[key for bit, key in enumerate(CATEGORY_KEYS[:-1]) if number >> bit & 1],
    )


def _job(rng: random.Random, number: int, tokens: int, policy: Policy, pictured: bool, prompts: Prompts) -> Job:
    text = _text(rng, tokens, prompts)
    image = picture(rng, None) if pictured else None
    parts: list[dict[str, Any]] = [{"type": "image", "image": image}] if image else []
    sent: list[dict[str, Any]] = [{"type": "image", "data": in_base64(image)}] if image else []
    words = {"type": "text", "text": text}
    event = ChatEvent.model_validate(
        {
            "event_id": f"bench-{number}",
            "conversation_id": "bench",
            "messages": [{"role": "user", "content": [*sent, words]}],
        }
    )
    whole = prompts.render([PromptTurn("user", text, (image,) if image else ())], policy.excluded_categories)
    return Job(event, policy, [{"role": "user", "content": [*parts, words]}], len(whole))


def _text(rng: random.Random, tokens: int, prompts: Prompts) -> str:
    """A text of about so many tokens."""
    text = harmless(rng)
    while len(spans := prompts.token_spans(text)) < tokens:
        text += " " + " ".join(harmless(rng) for _ in range(1 + tokens // 8))
    return text[: spans[tokens - 1][1]]
