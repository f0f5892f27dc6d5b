"""One guard's lane: checks queue here, leave in batches for the device, and come back as findings."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget
from worker.guards.guard import Check, Finding, Guard
from worker.guards.runner import DeviceThread
from worker.observability import metrics


class Ticket(Protocol):
    """How far an event has come. What has not started may be given back to Kafka; what has started is finished."""

    started: bool


@dataclass(slots=True)
class PlainTicket:
    """A ticket of an event that nobody takes back."""

    started: bool = False


class _Group:
    """The checks of one event in this lane, and the future of all their findings."""

    __slots__ = ("findings", "future", "left", "ticket")

    def __init__(self, size: int, ticket: Ticket, future: "asyncio.Future[list[Finding]]") -> None:
        self.ticket, self.future, self.left = ticket, future, size
        self.findings: list[Finding | None] = [None] * size

    def found(self, position: int, finding: Finding) -> None:
        """One check was judged."""
        self.findings[position] = finding
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result([each for each in self.findings if each is not None])

    def failed(self, error: BaseException) -> None:
        """The device failed."""
        if not self.future.done():
            self.future.set_exception(error)


class _Work:
    """One queued check."""

    __slots__ = ("arrived", "check", "group", "position", "tokens")

    def __init__(self, check: Check, arrived: float, group: _Group, position: int) -> None:
        self.check, self.arrived, self.group, self.position = check, arrived, group, position
        self.tokens = check.tokens


class _LaneMetrics:
    """The batch metrics of one guard, their labels looked up once."""

    def __init__(self, guard: str) -> None:
        self._batches = metrics.BATCHES.labels(guard)
        self._checks = metrics.BATCH_CHECKS.labels(guard)
        self._tokens = metrics.BATCH_TOKENS.labels(guard)
        self._padded = metrics.BATCH_PADDED_TOKENS.labels(guard)
        self._budget = metrics.BATCH_BUDGET_TOKENS.labels(guard)
        self._seconds = metrics.BATCH_SECONDS.labels(guard)

    def batch(self, batch: Sequence[_Work], budget: int, seconds: float) -> None:
        """A batch was judged."""
        self._batches.inc()
        self._checks.inc(len(batch))
        self._tokens.inc(sum(work.tokens for work in batch))
        self._padded.inc(max(work.tokens for work in batch) * len(batch))
        self._budget.inc(budget)
        self._seconds.inc(seconds)


class GuardLane:
    """Batches one guard's checks. Belongs to the event loop that constructs it.

    While the guard is idle the oldest check waits `max_wait` seconds for company. While it is busy the batch grows; a
    batch that is full joins the running one in the air, so that the device goes from one to the next without a pause.
    """

    _MOST_IN_THE_AIR = 2

    def __init__(
        self,
        guard: Guard,
        device: DeviceThread,
        *,
        batch_tokens: int,
        max_wait: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.guard = guard
        self._device, self._clock, self._max_wait = device, clock, max_wait
        self._batch_tokens = batch_tokens
        self._batcher: Batcher[_Work] = Batcher(TokenBudget(batch_tokens), max_wait)
        self._loop = asyncio.get_running_loop()
        self._in_the_air = 0
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._metrics = _LaneMetrics(guard.name)

    def submit(self, checks: Sequence[Check], ticket: Ticket) -> "asyncio.Future[list[Finding]]":
        """The future findings on an event's checks, in their order. Cancel it to take back what has not left.

        Sets `ticket.started` when the first check leaves for the device.
        """
        future: asyncio.Future[list[Finding]] = self._loop.create_future()
        if not checks:
            future.set_result([])
            return future
        now, group = self._clock(), _Group(len(checks), ticket, future)
        for position, check in enumerate(checks):
            self._batcher.add(_Work(check, now, group, position))
        if not self._pumping:  # once for all that come in this round of the loop
            self._pumping = True
            self._loop.call_soon(self._pump)
        return future

    def _pump(self) -> None:
        """Sends off every batch that is due, and sets the timer for the next."""
        self._pumping = False
        while self._in_the_air < self._MOST_IN_THE_AIR:
            due = self._batcher.due_at()
            if due is None:
                return
            now = self._clock()
            full = self._batcher.full
            if not full and (self._in_the_air or due > now):
                if not self._in_the_air:
                    self._set_timer(due - now)
                return
            self._send_off(now)

    def _set_timer(self, delay: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump()

    def _send_off(self, now: float) -> None:
        batch = [work for work in self._batcher.take() if not work.group.future.done()]
        if not batch:
            return
        for work in batch:
            work.group.ticket.started = True
        self._in_the_air += 1
        running = asyncio.wrap_future(self._device.submit(self.guard, [work.check for work in batch]), loop=self._loop)
        running.add_done_callback(lambda future: self._landed(batch, future, now))

    def _landed(self, batch: Sequence[_Work], future: "asyncio.Future[list[Finding]]", sent_at: float) -> None:
        self._in_the_air -= 1
        if future.cancelled():
            error: BaseException | None = RuntimeError("the device thread was closed with work left")
        else:
            error = future.exception()
        findings = [] if error is not None else future.result()
        for work, finding in zip(batch, findings, strict=error is None):
            work.group.found(work.position, finding)
        if error is not None:
            for work in batch:
                work.group.failed(error)
        self._metrics.batch(batch, self._batch_tokens, self._clock() - sent_at)
        self._pump()
