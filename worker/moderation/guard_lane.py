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


class _Work:
    __slots__ = ("arrived", "check", "future", "ticket", "tokens")

    def __init__(self, check: Check, ticket: Ticket, arrived: float, future: "asyncio.Future[Finding]") -> None:
        self.check, self.ticket, self.arrived, self.future = check, ticket, arrived, future
        self.tokens = check.tokens


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
        self._timer: asyncio.TimerHandle | None = None

    async def judge(self, checks: Sequence[Check], ticket: Ticket) -> list[Finding]:
        """The findings on an event's checks, in their order. Sets `ticket.started` when the first leaves for the
        device."""
        if not checks:
            return []
        now = self._clock()
        work = [_Work(check, ticket, now, self._loop.create_future()) for check in checks]
        for item in work:
            self._batcher.add(item)
        self._pump()
        if len(work) == 1:
            return [await work[0].future]
        return await asyncio.gather(*(item.future for item in work))

    def _pump(self) -> None:
        """Sends off every batch that is due, and sets the timer for the next."""
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
        batch = [work for work in self._batcher.take() if not work.future.cancelled()]
        if not batch:
            return
        for work in batch:
            work.ticket.started = True
        self._in_the_air += 1
        running = asyncio.wrap_future(self._device.submit(self.guard, [work.check for work in batch]), loop=self._loop)
        running.add_done_callback(lambda future: self._landed(batch, future, now))

    def _landed(self, batch: Sequence[_Work], future: "asyncio.Future[list[Finding]]", sent_at: float) -> None:
        self._in_the_air -= 1
        error = future.exception() if not future.cancelled() else asyncio.CancelledError("the device thread was closed")
        for position, work in enumerate(batch):
            if work.future.done():
                continue
            if error is not None:
                work.future.set_exception(error)
            else:
                work.future.set_result(future.result()[position])
        self._measure(batch, sent_at)
        self._pump()

    def _measure(self, batch: Sequence[_Work], sent_at: float) -> None:
        name = self.guard.name
        metrics.BATCHES.labels(name).inc()
        metrics.BATCH_CHECKS.labels(name).inc(len(batch))
        metrics.BATCH_TOKENS.labels(name).inc(sum(work.tokens for work in batch))
        metrics.BATCH_PADDED_TOKENS.labels(name).inc(max(work.tokens for work in batch) * len(batch))
        metrics.BATCH_BUDGET_TOKENS.labels(name).inc(self._batch_tokens)
        metrics.BATCH_SECONDS.labels(name).inc(self._clock() - sent_at)
