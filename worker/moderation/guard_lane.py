"""One guard's lane: checks queue here, leave in batches for the device, and come back as findings."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget
from worker.guards.guard import Check, Fault, Finding, Guard
from worker.guards.runner import DeviceLost, DeviceThread, Judged
from worker.moderation.guard_breaker import GuardBreaker, State
from worker.moderation.lane_metrics import LaneMetrics
from worker.observability import tracing

log = structlog.get_logger(__name__)

_UNAVAILABLE = Finding(None, fault=Fault.GUARD_UNAVAILABLE)


class Ticket(Protocol):
    """How far an event has come. What has not started may be given back to Kafka; what has started is finished."""

    started: bool


@dataclass(slots=True)
class PlainTicket:
    """A ticket of an event that nobody takes back."""

    started: bool = False


class Answers:
    """What all guards say of one event: each lane writes its findings, and the future is done with the last of them, or
    with the first failure. Cancel the future to take back what has not left."""

    __slots__ = ("_findings", "_left", "future", "span", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.future: asyncio.Future[list[list[Finding]]] = asyncio.get_running_loop().create_future()
        self._findings: list[list[Finding]] = []
        self._left = 1  # until all are asked
        self.span = None if tracing.tracer is None else tracing.current()

    def expect(self, checks: int) -> list[Finding]:
        """Room for the findings of one more guard."""
        findings = [_UNAVAILABLE] * checks
        self._findings.append(findings)
        self._left += checks
        return findings

    def came(self, findings: int = 1) -> None:
        """So many of the findings are in their places; or, once, all guards are asked."""
        self._left -= findings
        if not self._left and not self.future.done():
            self.future.set_result(self._findings)

    def failed(self, error: BaseException) -> None:
        """The device failed: no need to wait for another guard, which may hang."""
        if not self.future.done():
            self.future.set_exception(error)


class _Work:
    """One queued check."""

    __slots__ = ("answers", "arrived", "check", "findings", "position", "tokens")

    def __init__(self, check: Check, arrived: float, answers: Answers, findings: list[Finding], position: int) -> None:
        self.check, self.arrived, self.answers = check, arrived, answers
        self.findings, self.position = findings, position
        self.tokens = check.tokens

    def found(self, finding: Finding) -> None:
        """It was judged."""
        self.findings[self.position] = finding
        self.answers.came()


class _Flight:
    """A batch, from its place in the device's queue to its findings. Its checks board when its turn has come."""

    __slots__ = ("budget", "waited", "watch", "works")

    def __init__(self) -> None:
        self.waited = 0.0  # seconds, of its oldest check
        self.works: Sequence[_Work] = ()
        self.budget = 0  # tokens that it could have held
        self.watch: asyncio.TimerHandle | None = None  # rings when it has been on the device for too long

    def trace(self, guard: str, seconds: float, error: BaseException | None) -> None:
        """Its span."""
        counts = {"checks": len(self.works), "tokens": sum(work.tokens for work in self.works)}
        tracing.batch_span(guard, [work.answers.span for work in self.works], seconds, counts, error)


class GuardLane:
    """Batches one guard's checks. Belongs to the event loop that constructs it.

    While the guard is idle the oldest check waits `max_wait` seconds for company. While a batch is on the device the
    next one is in the device's queue already and grows; who goes with it is decided when the device is free. So the
    device goes from one to the next without a pause, and no batch leaves smaller than it must.
    """

    def __init__(
        self,
        guard: Guard,
        device: DeviceThread,
        *,
        batch_tokens: int,
        max_wait: float,
        timeout: float = math.inf,
        breaker_failures: int = 0,
        on_guard_down: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`batch_tokens`: most padded tokens of a batch; fewer for a while after the device ran out of memory.
        `timeout`: seconds on the device after which a batch counts as hanging, and its events fail with DeviceLost.
        `breaker_failures`, `on_guard_down`: as GuardBreaker has them; 0 asks the guard whatever it does."""
        self.guard = guard
        self._device, self._timeout, self._clock = device, timeout, clock
        self._budget = TokenBudget(batch_tokens)
        self._batcher: Batcher[_Work] = Batcher(self._budget, max_wait)
        self._breaker = GuardBreaker(guard.name, breaker_failures, clock, on_guard_down)
        self._queue = threading.Lock()  # around the batcher and its budget: boarding is on the device's thread
        self._loop = asyncio.get_running_loop()
        self._waiting: _Flight | None = None  # in the device's queue
        self._on_device = 0  # flights
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._lost: DeviceLost | None = None  # since a batch hangs
        self._metrics = LaneMetrics(guard.name)
        self._metrics.present_budget.set(batch_tokens)

    def submit(self, checks: Sequence[Check], answers: Answers) -> None:
        """Has an event's checks judged; their findings go into `answers`, in their order.

        Sets the ticket's `started` when the first check has left for the device. While the guard is down the findings
        are there at once, each with the fault `guard_unavailable`, and the ticket stays as it is.
        """
        findings = answers.expect(len(checks))
        if not checks:
            return
        if self._lost is not None:
            answers.failed(self._lost)
            return
        if not self._breaker.admits():
            answers.came(len(checks))
            return
        if self._breaker.state is State.HALF_OPEN:
            answers.future.add_done_callback(self._tried)
        now = self._clock()
        with self._queue:
            for position, check in enumerate(checks):
                self._batcher.add(_Work(check, now, answers, findings, position))
        self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pumping:  # once for all that come in this round of the loop
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Puts a flight into the device's queue where one is due, or sets the timer for it."""
        self._pumping = False
        if self._waiting is not None:
            return
        with self._queue:
            due = self._batcher.due_at()
        if due is None:
            return
        delay = due - self._clock()
        if self._on_device or delay <= 0:
            self._send_off()
        elif self._timer is None:
            self._timer = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump()

    def _send_off(self) -> None:
        flight = _Flight()
        try:
            submitted = self._device.submit(self.guard, lambda: self._board(flight))
        except RuntimeError as error:  # the device's thread was closed
            self._give_up(error)
            return
        self._waiting = flight
        running = asyncio.wrap_future(submitted, loop=self._loop)
        running.add_done_callback(lambda future: self._landed(flight, future))

    def _board(self, flight: _Flight) -> list[Check]:
        """The checks of the next batch. On the device's thread."""
        with self._queue:
            while not flight.works and len(self._batcher):
                flight.works = [work for work in self._batcher.take() if not work.answers.future.done()]
            flight.budget = self._budget.tokens
        if flight.works:
            flight.waited = self._clock() - min(work.arrived for work in flight.works)
        self._loop.call_soon_threadsafe(self._boarded, flight)
        return [work.check for work in flight.works]

    def _boarded(self, flight: _Flight) -> None:
        self._waiting = None
        self._on_device += 1
        if flight.works and self._timeout < math.inf:
            flight.watch = self._loop.call_later(self._timeout, self._hangs, flight)
        for work in flight.works:
            work.answers.ticket.started = True
        self._pump()

    def _hangs(self, flight: _Flight) -> None:
        """Nothing ends a call that hangs on the device but the end of the process: whoever waits is told to see to
        it, and whoever comes later: those who waited may have been given back meanwhile."""
        log.error("batch_hangs", guard=self.guard.name, checks=len(flight.works), seconds=self._timeout)
        self._lost = DeviceLost(f"{self.guard.name}: a batch has not come back for {self._timeout:g} s")
        for work in flight.works:
            work.answers.failed(self._lost)
        self._give_up(self._lost)

    def _landed(self, flight: _Flight, future: "asyncio.Future[Judged]") -> None:
        if future.cancelled():  # it never boarded
            self._waiting = None
            self._give_up(RuntimeError("the device thread was closed with work left"))
            return
        self._on_device -= 1
        if flight.watch is not None:
            flight.watch.cancel()
        error = future.exception()
        if tracing.tracer is not None:
            flight.trace(self.guard.name, 0.0 if error is not None else future.result().seconds, error)
        if error is not None:
            for work in flight.works:
                work.answers.failed(error)
        elif flight.works:
            judged = future.result()
            for work, finding in zip(flight.works, judged.findings, strict=True):
                work.found(finding)
            lengths = [work.tokens for work in flight.works]
            self._metrics.batch(lengths, flight.budget, flight.waited, judged.seconds)
            self._learn(judged)
            if self._breaker.saw(judged.findings):
                self._answer_without_the_guard()
        self._pump()

    def _give_up(self, error: Exception) -> None:
        for work in self._take_all():
            work.answers.failed(error)

    def _answer_without_the_guard(self) -> None:
        for work in self._take_all():
            work.found(_UNAVAILABLE)

    def _take_all(self) -> list[_Work]:
        """Empties the queue."""
        taken: list[_Work] = []
        with self._queue:
            while works := self._batcher.take():
                taken += works
        return taken

    def _tried(self, trial: "asyncio.Future[list[list[Finding]]]") -> None:
        if trial.cancelled():
            self._breaker.gave_up()

    def _learn(self, judged: Judged) -> None:
        """How much memory the device has."""
        before = self._budget.tokens
        with self._queue:
            if judged.out_of_memory_tokens is not None:
                self._budget.ran_out(judged.out_of_memory_tokens)
            self._budget.passed(judged.passed_tokens)
        now = self._budget.tokens
        if now != before:
            self._metrics.present_budget.set(now)
            tell = log.warning if now < before else log.info
            tell("batch_budget_changed", guard=self.guard.name, tokens=now, before=before, setting=self._budget.setting)
