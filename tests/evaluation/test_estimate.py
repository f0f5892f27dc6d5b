"""Intervals: known values, and that they hold as often as they say."""

import random
from math import comb

import pytest

from worker.evaluation.estimate import Estimate, average, correlation_of, difference, f1_score, proportion


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilsons_interval_as_newcombe_printed_it(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 3."""
    found = proportion(hits, n)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    found = f1_score(hits=30, false_alarms=10, misses=20)
    precision, recall = 30 / 40, 30 / 50
    assert found is not None and found.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.low < found.value < found.high
    assert f1_score(0, 0, 0) is None


def test_an_average_of_equals_is_no_surer_than_one() -> None:
    one = proportion(12, 40)
    assert one is not None
    same = average([one] * 5, distinct=40)
    assert same is not None and (same.low, same.high) == pytest.approx((one.low, one.high))
    apart = average([one] * 4, distinct=160)
    assert apart is not None and apart.high - apart.value == pytest.approx((one.high - one.value) / 2)
    assert average([None, None], 0) is None


def test_the_interval_of_an_average_holds() -> None:
    """Of thirteen categories with shares and sizes of their own, in about 95 of 100 draws."""
    rng = random.Random(7)
    parts = [(rng.uniform(0.02, 0.9), rng.randint(20, 80)) for _ in range(13)]
    truth, draws = sum(share for share, _ in parts) / 13, 1500
    held = 0
    for _ in range(draws):
        drawn = [proportion(sum(rng.random() < share for _ in range(n)), n) for share, n in parts]
        found = average(drawn, sum(n for _, n in parts))
        assert found is not None
        held += found.low <= truth <= found.high
    assert 0.93 <= held / draws <= 0.98


def test_wilsons_interval_holds_by_exact_sums() -> None:
    n = 400
    for share in (0.01, 0.05, 0.3, 0.5):
        held = 0.0
        for hits in range(n + 1):
            found = proportion(hits, n)
            assert found is not None
            if found.low <= share <= found.high:
                held += comb(n, hits) * share**hits * (1 - share) ** (n - hits)
        assert 0.92 <= held <= 0.985, share


def test_the_interval_of_a_paired_difference_holds() -> None:
    rng, draws, held, n = random.Random(11), 1500, 0, 150
    for _ in range(draws):
        before = [rng.random() < 0.6 for _ in range(n)]
        now = [old if rng.random() < 0.7 else rng.random() < 0.8 for old in before]  # share .7*.6 + .3*.8 = .66
        found = difference(
            proportion(sum(now), n), proportion(sum(before), n), correlation_of(list(zip(now, before, strict=True)))
        )
        assert found is not None
        held += found.low <= 0.06 <= found.high
    assert 0.93 <= held / draws <= 0.98


def test_no_difference_without_both() -> None:
    some = Estimate(0.5, 0.4, 0.6, 10)
    assert difference(some, None, 0.0) is None
    same = difference(some, some, 1.0)
    assert same is not None and (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert correlation_of([(True, True), (False, True)]) == 0.0
