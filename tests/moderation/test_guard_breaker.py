"""A guard's breaker: when it opens, when it tries the guard again, when it closes. Pure: the test holds the clock."""

from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from tests.moderation.lane_rig import HandClock
from worker.guards.guard import Fault, Finding
from worker.moderation.guard_breaker import GuardBreaker, State

CLOSED, HALF_OPEN, OPEN = State.CLOSED, State.HALF_OPEN, State.OPEN
FINDINGS = {
    "ok": Finding(0.1),
    "error": Finding(None, fault=Fault.GUARD_ERROR),
    "large": Finding(None, fault=Fault.TOO_LARGE),
    "strange": Finding(None, fault=Fault.UNPARSEABLE),
}


class Rig:
    """A breaker that opens at three failures in a row."""

    def __init__(self, failures: int = 3, *, stops: bool = False) -> None:
        self.clock, self.stopped = HandClock(), 0
        self.breaker = GuardBreaker("llama_guard", failures, self.clock, self._stop if stops else None)

    def saw(self, *kinds: str) -> bool:
        return self.breaker.saw([FINDINGS[kind] for kind in kinds])

    def after(self, seconds: float) -> bool:
        self.clock.now += seconds
        return self.breaker.admits()

    def _stop(self) -> None:
        self.stopped += 1

    @property
    def gauge(self) -> float | None:
        return REGISTRY.get_sample_value("moderation_guard_breaker_state", {"guard": "llama_guard"})


@pytest.mark.parametrize(
    ("batches", "state"),
    [
        ([["error", "error"]], CLOSED),
        ([["error", "error", "error"]], OPEN),
        ([["error"], ["error"], ["error"]], OPEN),
        ([["error", "error"], ["ok"], ["error", "error"]], CLOSED),
        ([["error", "error", "error", "ok"]], CLOSED),  # it has recovered within the batch
        ([["ok", "error"], ["error", "error"]], OPEN),
        ([["error", "error"], ["strange"], ["error"]], CLOSED),  # it answers, if strangely
        ([["error", "error"], ["large"], ["error"]], OPEN),  # that says nothing
        ([["large"] * 9], CLOSED),
        ([[]], CLOSED),
    ],
)
def test_it_opens_after_failures_in_a_row(batches: Sequence[Sequence[str]], state: State) -> None:
    rig = Rig()
    told = [rig.saw(*batch) for batch in batches]
    assert rig.breaker.state is state
    assert rig.gauge == state
    assert told[-1] is (state is OPEN), "what waits is to be answered without the guard"
    assert rig.breaker.admits() is (state is CLOSED)


def test_zero_never_opens_it() -> None:
    rig = Rig(0)
    assert not rig.saw(*["error"] * 1000)
    assert rig.breaker.admits()


def test_after_its_wait_one_event_goes_through_and_its_success_closes_it() -> None:
    rig = Rig()
    rig.saw(*["error"] * 3)
    assert not rig.after(0.99)
    assert rig.after(0.01)
    assert (rig.breaker.state, rig.gauge) == (HALF_OPEN, 1)
    assert not rig.after(1000), "one, and no second"
    assert not rig.saw("error", "ok")
    assert (rig.breaker.state, rig.gauge) == (CLOSED, 0)
    assert rig.breaker.admits()
    assert not rig.saw("error", "error"), "it counts anew"


def test_the_wait_doubles_up_to_a_minute_and_begins_anew_once_it_was_closed() -> None:
    rig = Rig()
    rig.saw(*["error"] * 3)
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        assert not rig.after(wait - 0.5)
        assert rig.after(0.5)
        assert rig.saw("error")
    assert rig.after(60)
    rig.saw("ok")
    rig.saw(*["error"] * 3)
    assert not rig.after(0.5)
    assert rig.after(0.5)


def test_a_trial_that_never_left_or_told_nothing_is_followed_by_the_next() -> None:
    rig = Rig()
    rig.saw(*["error"] * 3)
    assert rig.after(1)
    rig.breaker.gave_up()
    assert rig.after(0)
    assert rig.saw("large")
    assert rig.after(0)
    rig.saw("ok")
    rig.breaker.gave_up()
    assert rig.breaker.state is CLOSED


def test_what_was_on_the_device_when_it_opened_may_close_it_and_lengthens_no_wait() -> None:
    rig = Rig()
    rig.saw(*["error"] * 3)
    assert rig.saw(*["error"] * 9)
    assert rig.after(1)
    rig.breaker.gave_up()
    rig.saw("ok")
    assert rig.breaker.state is CLOSED


def test_whoever_is_to_know_is_told_once_when_it_opens_and_not_when_a_trial_fails() -> None:
    rig = Rig(stops=True)
    for _ in range(2):
        rig.saw(*["error"] * 9)
        assert not rig.breaker.admits()
    assert rig.after(1)
    rig.saw("error")
    assert rig.stopped == 1
