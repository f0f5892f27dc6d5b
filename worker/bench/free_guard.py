"""Guards that cost nothing: what is left is the stream's own cost."""

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

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, _event: ChatEvent, _policy: Policy) -> Preparation:
        """One check that needs no preparation."""
        return _READY

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        """Safe, as often as asked."""
        return [_SAFE] * len(checks)


def free_guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    """Both guards of a worker."""
    return FreeGuard("llama_guard"), FreeGuard("prompt_guard")
