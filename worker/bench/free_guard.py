"""Guards that cost nothing, or only a known time: what is left is the stream's own cost."""

import time
from collections.abc import Callable, Sequence

from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Check, Finding, Guard, ModelId, Preparation
from worker.policy.policy import Policy
from worker.settings import Settings

_SAFE = Finding(0.01)
_READY = Preparation([Check(32, None)])


class FreeGuard:
    """Everything is safe."""

    models = (ModelId("free", "none", stand_in=True),)

    def __init__(self, name: str, seconds: float) -> None:
        """`seconds`: of each batch on the device."""
        self.name, self._seconds = name, seconds

    def prepare(self, _event: ChatEvent, _policy: Policy) -> Preparation:
        """One check that needs no preparation."""
        return _READY

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        """Safe, as often as asked."""
        if self._seconds:
            time.sleep(self._seconds)
        return [_SAFE] * len(checks)


def free_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """Both guards of a worker."""
    return FreeGuard("llama_guard", 0), FreeGuard("prompt_guard", 0)


def slow_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """The same, where a batch of Llama Guard takes 5 ms."""
    return FreeGuard("llama_guard", 0.005), FreeGuard("prompt_guard", 0)
