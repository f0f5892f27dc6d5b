"""A guard's circuit breaker: one that fails check after check is left alone for a while. Pure: it is told what happens,
and asks a clock that is passed in."""

from collections.abc import Callable, Sequence
from enum import IntEnum

import structlog

from worker.guards.guard import Fault, Finding
from worker.observability import metrics

log = structlog.get_logger(__name__)


class State(IntEnum):
    """The values are the metric's."""

    CLOSED = 0  # the guard is asked
    HALF_OPEN = 1  # one event's checks are on their way to it; everything else is answered without it
    OPEN = 2  # everything is answered without it


class GuardBreaker:
    """Counts a guard's failures in a row, and says who may go to it.

    Closed, it opens after `failures` checks in a row that failed with `guard_error`. Open, it lets one event through
    when its wait is over (half-open): one check of it that the guard answers closes it again, a failure doubles the
    wait, up to a bound. A check that is too large for the device's memory says nothing about the guard.
    """

    _FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds

    def __init__(
        self, guard: str, failures: int, clock: Callable[[], float], on_open: Callable[[], None] | None = None
    ) -> None:
        """`failures`: 0 never opens it. `on_open` is called when it opens, not when a trial fails."""
        self.state = State.CLOSED
        self._guard, self._limit, self._clock, self._on_open = guard, failures, clock, on_open
        self._in_a_row = 0
        self._wait = self._FIRST_WAIT
        self._opened = self._retry_at = 0.0
        metrics.GUARD_BREAKER_STATE.labels(guard).set(self.state)

    def admits(self) -> bool:
        """Whether an event's checks may go to the guard. Where it is half-open afterwards they are the trial: tell it
        by `saw` what came of them, or by `gave_up` that they never left."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.HALF_OPEN or self._clock() < self._retry_at:
            return False
        self._become(State.HALF_OPEN)
        return True

    def saw(self, findings: Sequence[Finding]) -> bool:
        """A batch came back with these. Returns whether what waits for the guard is to be answered without it."""
        if self.state is State.CLOSED and not any(finding.fault for finding in findings):  # as it nearly always is
            self._in_a_row = 0
            return False
        telling = [finding.fault is Fault.GUARD_ERROR for finding in findings if finding.fault is not Fault.TOO_LARGE]
        for failed in telling:
            self._in_a_row = self._in_a_row + 1 if failed else 0
        if self.state is State.CLOSED:
            if not self._limit or self._in_a_row < self._limit:
                return False
            self._open(self._FIRST_WAIT)
        elif not all(telling):
            self._close()
        elif self.state is State.HALF_OPEN:
            if telling:
                self._open(min(2 * self._wait, self._LONGEST_WAIT))
            else:
                self.gave_up()
        return self.state is State.OPEN

    def gave_up(self) -> None:
        """The trial did not come to the guard, or told nothing: the next event is the trial."""
        if self.state is State.HALF_OPEN:
            self._become(State.OPEN)

    def _open(self, wait: float) -> None:
        now, first = self._clock(), self.state is State.CLOSED
        self._wait, self._retry_at = wait, now + wait
        if first:
            self._opened = now
            log.error(
                "guard_breaker_open",
                guard=self._guard,
                failed_in_a_row=self._in_a_row,
                then="the worker stops" if self._on_open else "review verdicts until the guard answers again",
            )
        self._become(State.OPEN)
        if first and self._on_open is not None:
            self._on_open()

    def _close(self) -> None:
        log.warning("guard_breaker_closed", guard=self._guard, seconds=round(self._clock() - self._opened, 1))
        self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        self.state = state
        metrics.GUARD_BREAKER_STATE.labels(self._guard).set(state)
