"""What a guard's lane moves: checks that wait, and batches of them on their way over the device."""

import asyncio
from collections.abc import Sequence

from worker.guards.guard import Check, Finding
from worker.moderation.request import Request
from worker.observability import tracing


class QueuedCheck:
    """One check that waits for its batch, or is in it."""

    __slots__ = ("arrived", "check", "findings", "position", "request", "tokens")

    def __init__(self, check: Check, arrived: float, request: Request, findings: list[Finding], position: int) -> None:
        self.check, self.arrived, self.request = check, arrived, request
        self.findings, self.position = findings, position  # where its finding goes
        self.tokens = check.tokens


class Flight:
    """A batch, from its place in the device's queue to its findings. Its checks board when its turn has come."""

    __slots__ = ("budget", "waited", "watch", "works")

    def __init__(self) -> None:
        self.waited = 0.0  # seconds, of its oldest check
        self.works: Sequence[QueuedCheck] = ()
        self.budget = 0  # tokens that it could have held
        self.watch: asyncio.TimerHandle | None = None  # rings when it has been on the device for too long

    def trace(self, guard: str, seconds: float, error: BaseException | None) -> None:
        """Its span."""
        counts = {"checks": len(self.works), "tokens": sum(work.tokens for work in self.works)}
        tracing.batch_span(guard, [work.request.span for work in self.works], seconds, counts, error)
