"""One guard's lane: checks queue here, leave in batches for the device, and come back as findings."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget
from worker.guards.guard import Check, Fault, Finding, Guard
from worker.guards.runner import DeviceLost, DeviceThread, Judged
from worker.moderation.flight import Flight, QueuedCheck
from worker.moderation.guard_breaker import GuardBreaker, State
from worker.moderation.lane_metrics import LaneMetrics
from worker.moderation.request import Request, Then
from worker.observability import metrics, tracing

log = structlog.get_logger(__name__)

_UNAVAILABLE = Finding(None, fault=Fault.GUARD_UNAVAILABLE)


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
        answered: Then,
        *,
        batch_tokens: int,
        max_wait: float,
        timeout: float = math.inf,
        breaker_failures: int = 0,
        on_started: Then = lambda _requests: None,
        on_landed: Callable[[], object] = lambda: None,
        on_lost: Callable[[DeviceLost], object] = lambda _error: None,
        on_guard_down: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answered` is told of requests whose last finding, of all guards, has come, and of those that have failed.
        `batch_tokens`: most padded tokens of a batch; fewer for a while after the device ran out of memory.
        `timeout`: seconds on the device after which a batch counts as hanging, and its events fail with DeviceLost.
        `on_started` is told of requests that have `started`, some of them perhaps before.
        `on_landed` is told whenever the device has come back from a batch; `on_lost` when it has not, or is lost,
        whoever still waits for that batch.
        `breaker_failures`, `on_guard_down`: as GuardBreaker has them; 0 asks the guard whatever it does."""
        self.guard = guard
        self._device, self._timeout, self._clock = device, timeout, clock
        self._answered, self._on_started = answered, on_started
        self._on_landed, self._on_lost = on_landed, on_lost
        self._budget = TokenBudget(batch_tokens)
        self._batcher: Batcher[QueuedCheck] = Batcher(self._budget, max_wait)
        self._breaker = GuardBreaker(guard.name, breaker_failures, clock, on_guard_down)
        self._trial: Request | None = None  # of a guard that was down
        self._queue = threading.Lock()  # around the batcher and its budget: boarding is on the device's thread
        self._loop = asyncio.get_running_loop()
        self._waiting: Flight | None = None  # in the device's queue
        self._on_device: set[Flight] = set()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._lost: DeviceLost | None = None  # since a batch hangs
        self._metrics = LaneMetrics(guard.name)
        self._metrics.present_budget.set(batch_tokens)

    def submit(self, requests: Iterable[Request], number: int = 0) -> list[Request]:
        """Has the checks of each request's answer `number` judged; their findings go there, in their order. Returns the
        requests with which this was the end: they are answered, or have failed.

        Sets `started` when the first check has left for the device. While the guard is down the findings are there at
        once, each with the fault `guard_unavailable`, and `started` stays as it is.
        """
        now, closed = self._clock(), self._breaker.state is State.CLOSED
        ended: list[Request] = []
        queued: list[QueuedCheck] = []
        for request in requests:
            answer = request.answers[number]
            checks = answer.preparation.checks
            answer.findings = findings = [_UNAVAILABLE] * len(checks)
            if not checks or request.over:
                continue
            if self._lost is not None:
                request.fail(self._lost)
                ended.append(request)
            elif closed or self._admits(request):
                for position, check in enumerate(checks):
                    queued.append(QueuedCheck(check, now, request, findings, position))
            else:
                metrics.FAULTS.labels(self.guard.name, Fault.GUARD_UNAVAILABLE.value).inc(len(checks))
                request.left -= len(checks)
                if not request.left:
                    ended.append(request)
        with self._queue:
            self._batcher.add_all(queued)
        self._pump_soon()
        return ended

    def _admits(self, request: Request) -> bool:
        """Whether a guard that was down is to be asked: by one request at a time."""
        admitted = self._breaker.admits()
        if admitted and self._breaker.state is State.HALF_OPEN:
            self._trial = request
        return admitted

    def gave_up(self, request: Request) -> None:
        """A request is over before its findings have come."""
        if request is self._trial:
            self._trial = None
            self._breaker.gave_up()

    def holds(self, request: Request) -> bool:
        """Whether the device has begun with it and has not come back. Of a request that is over: it begins with none of
        those."""
        with self._queue:
            flights = self._on_device if self._waiting is None else {*self._on_device, self._waiting}
            return any(work.request is request for flight in flights for work in flight.works)

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
        flight = Flight()
        try:
            submitted = self._device.submit(self.guard, lambda: self._board(flight))
        except RuntimeError as error:  # the device's thread was closed
            self._fail(self._take_all(), error)
            return
        self._waiting = flight
        running = asyncio.wrap_future(submitted, loop=self._loop)
        running.add_done_callback(lambda future: self._landed(flight, future))

    def _board(self, flight: Flight) -> list[Check]:
        """The checks of the next batch. On the device's thread."""
        with self._queue:
            while not flight.works and len(self._batcher):
                flight.works = [work for work in self._batcher.take() if not work.request.over]
            flight.budget = self._budget.tokens
        if flight.works:
            flight.waited = self._clock() - min(work.arrived for work in flight.works)
        self._loop.call_soon_threadsafe(self._boarded, flight)
        return [work.check for work in flight.works]

    def _boarded(self, flight: Flight) -> None:
        self._waiting = None
        self._on_device.add(flight)
        if flight.works and self._timeout < math.inf:
            flight.watch = self._loop.call_later(self._timeout, self._hangs, flight)
        started = [work.request for work in flight.works]
        for request in started:
            request.started = True
        self._pump()  # before anybody is told: what follows takes its time
        self._on_started(started)

    def _hangs(self, flight: Flight) -> None:
        """Nothing ends a call that hangs on the device but the end of the process: whoever waits is told to see to
        it, and whoever comes later: those who waited may have been given back meanwhile."""
        log.error("batch_hangs", guard=self.guard.name, checks=len(flight.works), seconds=self._timeout)
        self._lost = DeviceLost(f"{self.guard.name}: a batch has not come back for {self._timeout:g} s")
        self._on_lost(self._lost)
        self._fail([*flight.works, *self._take_all()], self._lost)

    def _landed(self, flight: Flight, future: "asyncio.Future[Judged]") -> None:
        error = (
            RuntimeError("the device thread was closed with work left") if future.cancelled() else future.exception()
        )
        boarded = self._waiting is not flight
        if boarded:
            self._on_device.remove(flight)
        else:
            self._waiting = None
        if isinstance(error, DeviceLost):  # while it is known who was in the batch
            self._on_lost(error)
        self._on_landed()
        if not boarded:
            self._fail([*flight.works, *self._take_all()], error or RuntimeError("a batch did not board"))
            return
        if flight.watch is not None:
            flight.watch.cancel()
        works, findings = flight.works, list[Finding]()
        try:
            if tracing.tracer is not None:
                flight.trace(self.guard.name, 0.0 if error is not None else future.result().seconds, error)
            if error is None and works:
                works, findings = self._seen(flight, future.result())
        except BaseException as cause:  # whatever it is: the event loop would only log it, and the events were lost
            error = cause
        self._pump()  # before anybody is told: what follows takes its time
        if error is None:
            self._found(works, findings)
        else:
            self._fail(works, error)

    def _seen(self, flight: Flight, judged: Judged) -> tuple[Sequence[QueuedCheck], list[Finding]]:
        """What follows from a batch for those behind it. The works that have an answer now, and the answers: also those
        that wait for a guard that turns out to be down."""
        self._metrics.batch([work.tokens for work in flight.works], flight.budget, flight.waited, judged.seconds)
        self._learn(judged)
        down = self._breaker.saw(judged.findings)
        if self._breaker.state is not State.HALF_OPEN:
            self._trial = None
        if not down:
            return flight.works, judged.findings
        unasked = self._take_all()
        return [*flight.works, *unasked], [*judged.findings, *[_UNAVAILABLE] * len(unasked)]

    def _found(self, works: Sequence[QueuedCheck], findings: Sequence[Finding]) -> None:
        """These were judged, or are answered without the guard."""
        answered = []
        try:
            for work, finding in zip(works, findings, strict=True):
                work.findings[work.position] = finding
                request = work.request
                if finding.fault is not None and not request.over:
                    metrics.FAULTS.labels(self.guard.name, finding.fault.value).inc()
                request.left -= 1
                if not request.left and not request.over:
                    answered.append(request)
        except BaseException as error:  # what a guard gave is no finding
            self._fail(works, error)
            return
        if answered:
            self._answered(answered)

    def _fail(self, works: Iterable[QueuedCheck], error: BaseException) -> None:
        """The device failed: no need to wait for another guard, which may hang."""
        failed = []
        for work in works:
            if not work.request.over:
                work.request.fail(error)
                failed.append(work.request)
        if failed:
            self._answered(failed)

    def _take_all(self) -> list[QueuedCheck]:
        """Empties the queue."""
        with self._queue:
            return self._batcher.take_all()

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
