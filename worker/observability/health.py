"""Health: progress, not mere life. Pure: it is told what happens and asked with a clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a worker is doing."""

    WAITING = "waiting"  # at the start, for brokers that do not answer
    LOADING = "loading"  # models on their way
    JOINING = "joining"  # no assignment yet
    RUNNING = "running"
    REBALANCING = "rebalancing"  # partitions were taken away, and the group has not said yet which are ours now
    DRAINING = "draining"  # takes nothing more, finishes what has started
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """An answer to a probe."""

    ok: bool
    phase: Phase
    why: str  # one sentence


class Health:
    """What liveness and readiness follow from. Times are seconds on `clock`."""

    _POLL_SHARE = 2 / 3  # of the time after which the group gives our partitions away: red well before
    _SILENT_SECONDS = 30.0  # without an answer of the brokers, asked every 5 to 12 s, Kafka counts as away
    _REBALANCE_SECONDS = 600.0  # another member may hold the group up for as long as it drains; none for this long

    def __init__(self, stuck_after: float, lost_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`stuck_after`: seconds with work in flight and nothing finished, while Kafka is there. `lost_after`: seconds
        without a sign of life after which the group gives our partitions away."""
        self._stuck_after, self._poll_seconds, self._clock = stuck_after, lost_after * self._POLL_SHARE, clock
        self._phase, self._since = Phase.LOADING, clock()
        self.partitions = 0
        self._polled = self._finished = self._answered = clock()
        self._in_flight = 0

    @property
    def phase(self) -> Phase:
        """What the worker is doing."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        if phase is Phase.RUNNING:
            # The time before, of loading models, say, does not count.
            self._polled = self._finished = self._answered = self._clock()
        self._since = self._clock()  # first: another thread would take an earlier phase's time for this one's
        self._phase = phase

    def polled(self, in_flight: int) -> None:
        """The intake came around."""
        self._polled = self._clock()
        if self._in_flight == 0:
            self._finished = self._polled  # nothing to finish: the wait begins with the first record
        self._in_flight = in_flight

    def finished(self) -> None:
        """A record was finished."""
        self._finished = self._clock()

    def kafka_answered(self) -> None:
        """The brokers answered a question."""
        now = self._clock()
        if now - self._answered > self._SILENT_SECONDS:
            self._finished = now  # it was Kafka that was waited for
        self._answered = now

    def live(self) -> Report:
        """Whether the process should go on living."""
        phase = self._phase  # looked at once: another thread asks
        if phase is Phase.FAILED:
            return Report(False, phase, "something unexpected happened; the process is ending")
        if phase is Phase.REBALANCING and (since := self._clock() - self._since) > self._REBALANCE_SECONDS:
            return Report(False, phase, f"the group has been rebalancing for {since:.0f} s")
        if phase is not Phase.RUNNING:
            return Report(True, phase, f"the worker is {phase}")
        since_poll, since_finish = self._clock() - self._polled, self._clock() - self._finished
        if since_poll > self._poll_seconds:
            return Report(False, phase, f"the intake has not come around for {since_poll:.0f} s")
        if self._in_flight and since_finish > self._stuck_after:
            waiting = f"{self._in_flight} events in flight and none finished for {since_finish:.0f} s"
            since_answer = self._clock() - self._answered
            # A new process would not bring Kafka back, and would have to load its models.
            away = since_answer > self._SILENT_SECONDS
            return Report(
                away, phase, f"{waiting}; Kafka has not answered for {since_answer:.0f} s" if away else waiting
            )
        return Report(True, phase, "polling, and finishing what comes in")

    def ready(self) -> Report:
        """Whether the models are loaded and the group has assigned partitions (possibly none to a spare worker)."""
        live = self.live()
        if live.phase is not Phase.RUNNING or not live.ok:
            return Report(False, live.phase, live.why)
        return Report(True, live.phase, f"{self.partitions} partitions assigned")
