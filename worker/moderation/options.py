"""How a moderator batches, what it keeps, and what its verdicts carry."""

import math
from dataclasses import dataclass

from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class ModeratorOptions:
    """Of a moderator and its panel of guards."""

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
