"""Guards that cost nothing, or only a known time: what is left is the stream's own cost."""

import time
from collections.abc import Callable, Sequence

from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Check, Finding, Guard, ModelId, Preparation
from worker.policy.policy import Policy
from worker.settings import Settings

COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS = 0.03, 0.002
FREE_CHECK_TOKENS = 32

_SAFE = Finding(0.01)
_READY = Preparation([Check(FREE_CHECK_TOKENS, None)])


class FreeGuard:
    """Everything is safe."""

    models = (ModelId("free", "none", stand_in=True),)

    def __init__(self, name: str, seconds: float = 0.0, check_seconds: float = 0.0) -> None:
        """`seconds`: of each batch on the device, and `check_seconds` more for each check."""
        self.name, self._seconds, self._check_seconds = name, seconds, check_seconds

    def prepare(self, _event: ChatEvent, _policy: Policy) -> Preparation:
        """One check that needs no preparation."""
        return _READY

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        """Safe, as often as asked."""
        if seconds := self._seconds + self._check_seconds * len(checks):
            time.sleep(seconds)
        return [_SAFE] * len(checks)


def free_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """Both guards of a worker."""
    return FreeGuard("llama_guard"), FreeGuard("prompt_guard")


def slow_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """The same, where a batch of Llama Guard takes 5 ms."""
    return FreeGuard("llama_guard", 0.005), FreeGuard("prompt_guard")


def costly_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """The same, where Llama Guard takes about what a large model does on a card."""
    return FreeGuard("llama_guard", COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS), FreeGuard("prompt_guard")
