"""The soak's rules can be broken."""

import pytest

from tests.chaos.soak import Sample, Soak
from worker.local.stress_tally import StressTally

HOUR = 3600


def _soak(growth: float = 0.0, pile: float = 0.0, lag: int = 0) -> Soak:
    """An hour at 300 events a second; `growth` in MB and `pile` in events, from begin to end."""
    samples = [Sample(at, int((300 + growth * at / HOUR) * 1e6), 10 + pile * at / HOUR) for at in range(0, HOUR + 1, 5)]
    return Soak(300.0, samples, lag=lag)


def test_a_steady_hour_breaks_no_rule() -> None:
    soaked = _soak(growth=3)
    assert soaked.slope == pytest.approx(3, abs=0.01)
    assert soaked.violations == []


@pytest.mark.parametrize(
    ("soaked", "told"),
    [
        (_soak(growth=11), "memory grew by 11.0 MB an hour, more than 10"),
        (_soak(pile=3000), "it falls behind"),
        (_soak(lag=1501), "1501 records not committed at the end"),
    ],
)
def test_what_grows_is_told(soaked: Soak, told: str) -> None:
    (violation,) = soaked.violations
    assert told in violation


def test_growth_during_the_warm_up_is_none() -> None:
    soaked = _soak()
    soaked.samples[:50] = [Sample(each.seconds, 1, each.in_flight) for each in soaked.samples[:50]]
    assert soaked.slope == pytest.approx(0, abs=0.01)


def test_a_run_without_answers_is_told() -> None:
    soaked = _soak()
    soaked.stress = StressTally().report(HOUR)
    assert soaked.violations == ["nothing was answered: is a worker running on these topics?"]
