"""Calibration: thresholds reach their target on new examples, and the interval stated for it holds."""

import random
from collections.abc import Callable

import pytest

from tests.evaluation.synthetic import judged
from worker.evaluation.calibration import Calibrator, is_held_out
from worker.evaluation.curves import ScoredLabel
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.threshold import Target, Unreachable, threshold_for
from worker.policy.policy import DEFAULT_POLICY, Policy

FPR, RECALL = Target("fpr", 0.01), Target("recall", 0.95)
SEEDS = 300


def drawn(seed: int, safe: int, unsafe: int) -> list[tuple[str, ScoredLabel]]:
    """Safe scores are u**3 of uniform u, unsafe ones 1 - u**3: the true rates of any threshold are known."""
    rng = random.Random(seed)
    scored = [(round(rng.random() ** 3, 6), False) for _ in range(safe)]
    scored += [(round(1 - rng.random() ** 3, 6), True) for _ in range(unsafe)]
    return [(f"{seed}-{number}", each) for number, each in enumerate(scored)]


def true_fpr(threshold: float) -> float:
    return 1 - threshold ** (1 / 3)  # P(u**3 >= t)


def true_recall(threshold: float) -> float:
    return (1 - threshold) ** (1 / 3)  # P(1 - u**3 >= t)


@pytest.mark.parametrize(
    ("target", "safe", "unsafe", "truth"),
    [(FPR, 1700, 20, true_fpr), (RECALL, 20, 400, true_recall)],
    ids=["fpr", "recall"],
)
def test_the_stated_interval_holds_and_the_target_is_reached(
    target: Target, safe: int, unsafe: int, truth: Callable[[float], float]
) -> None:
    """Over 300 data sets: the interval holds the true rate in about 95 of 100, which is on average the target's or
    better."""
    held, rates = 0, []
    for seed in range(SEEDS):
        found = Calibrator(target, DEFAULT_POLICY, 0.0).one("t", "t", drawn(seed, safe, unsafe), 0.5)
        assert found.usable and found.now is not None
        stated, rate = found.now.of(target), truth(found.now.threshold)
        assert stated is not None
        held += stated.low <= rate <= stated.high
        rates.append(rate)
    mean = sum(rates) / SEEDS
    error = mean if target.kind == "fpr" else 1 - mean
    assert 0.92 <= held / SEEDS <= 0.985
    assert 0.85 * target.error_rate <= error <= 1.02 * target.error_rate


def test_a_threshold_by_hand() -> None:
    """Of 199 safe ones (1 + 1) / 200 is within 1 %: one may be flagged, so the threshold is just above the second."""
    safe = [(0.9, False), (0.8, False), *[(0.1, False)] * 197]
    assert threshold_for(safe, FPR) == 0.800001
    # Of 39 unsafe ones (1 + 1) / 40 is within 5 %: one may be missed, and the second lowest is the threshold.
    unsafe = [(0.2, True), (0.3, True), *[(0.9, True)] * 37]
    assert threshold_for(unsafe, RECALL) == 0.3


def test_too_few_to_choose_on() -> None:
    with pytest.raises(Unreachable, match="98 safe examples to calibrate on, 99 or more are needed"):
        threshold_for([(0.1, False)] * 98, FPR)
    assert threshold_for([(0.1, False)] * 99, FPR) == 0.100001


def test_scores_that_no_threshold_can_part() -> None:
    with pytest.raises(Unreachable, match=r"5 of 199 safe examples have the highest score, 1\.0"):
        threshold_for([(1.0, False)] * 5 + [(0.1, False)] * 194, FPR)


def test_the_data_needed_for_a_claim() -> None:
    """The fewest examples whose interval around the target excludes twice its error rate."""
    assert (FPR.examples_needed, RECALL.examples_needed, Target("fpr", 0.05).examples_needed) == (753, 139, 139)


def test_too_little_data_is_told_and_not_usable() -> None:
    found = Calibrator(FPR, DEFAULT_POLICY, 0.0).one("t", "t", drawn(1, 500, 500), 0.5)
    assert found.now is not None and not found.usable
    assert found.too_small is not None and "753 are needed, so about 1506 safe examples in all" in found.too_small


def test_what_is_held_out_depends_on_the_id_alone() -> None:
    names = [f"e-{number}" for number in range(4000)]
    held = {name for name in names if is_held_out(name, 0.3, seed=0)}
    assert 0.26 <= len(held) / len(names) <= 0.34
    assert held == {name for name in reversed(names) if is_held_out(name, 0.3, seed=0)}
    assert held != {name for name in names if is_held_out(name, 0.3, seed=1)}


# -- per category -----------------------------------------------------------------------------------------------------


def of_two_categories(count: int = 8000) -> list[JudgedExample]:
    """S1 and S9, whose false alarms have different scores; the guard names the right category."""
    rng = random.Random(5)
    rows = []
    for number in range(count):
        key, unsafe = ("S1", "S9")[number % 2], number % 4 < 2
        low = rng.random() ** (2 if key == "S1" else 8)
        rows.append(judged(str(number), round(1 - low if unsafe else low, 6), unsafe=unsafe, categories=[key]))
    return [row.model_copy(update={"found": row.categories}) for row in rows]


def test_each_category_gets_its_own_threshold() -> None:
    found = {each.setting: each for each in Calibrator(FPR, DEFAULT_POLICY, 0.0).categories(of_two_categories())}
    assert list(found) == ["categories.S1.threshold", "categories.S9.threshold"]
    for each in found.values():
        assert each.usable and each.now is not None and each.now.false_positive_rate is not None
        assert each.now.false_positive_rate.low <= 0.01 <= each.now.false_positive_rate.high
    first, second = (each.now.threshold for each in found.values() if each.now)
    assert first > second  # the false alarms of S1 score higher
    assert first == pytest.approx(0.99**2, abs=0.01) and second == pytest.approx(0.99**8, abs=0.02)


def test_a_category_acts_only_where_the_guard_names_it() -> None:
    """Every unsafe example is flagged, but a third of them as another category."""
    rows = [
        judged(
            str(number), 0.9 if unsafe else 0.1, unsafe=unsafe, categories=["S1"], found=["S1" if number % 3 else "S2"]
        )
        for number in range(1200)
        for unsafe in [number % 2 == 0]
    ]
    (found,) = Calibrator(Target("fpr", 0.05), DEFAULT_POLICY, 0.5).categories(rows)
    assert found.now is not None and found.now.recall is not None
    assert found.now.recall.low < 2 / 3 < found.now.recall.high
    (found,) = Calibrator(RECALL, DEFAULT_POLICY, 0.5).categories(rows)
    assert found.now is None and "too many unsafe examples are not named" in (found.unreachable or "")


def test_no_threshold_goes_below_where_categories_are_known() -> None:
    rows = [
        row.model_copy(update={"found": ()}) if (row.unsafe_score or 0) < 0.99 else row for row in of_two_categories()
    ]
    kept, lost = (list(Calibrator(target, DEFAULT_POLICY, 0.99).categories(rows)) for target in (FPR, RECALL))
    assert len(kept) == len(lost) == 2
    for each in kept:
        assert each.now is not None and each.now.threshold >= 0.99
    for each in lost:
        assert each.now is None and "known from 0.99 up" in (each.unreachable or "")


def test_ignored_and_excluded_categories_are_left_alone() -> None:
    policy = Policy.model_validate(
        {"name": "p", "excluded_categories": ["S1"], "categories": {"S9": {"action": "ignore"}}}
    )
    assert list(Calibrator(FPR, policy, 0.0).categories(of_two_categories())) == []


def test_prompt_attacks_have_a_threshold_of_their_own() -> None:
    rng = random.Random(2)
    rows = [
        judged(str(number), None, attack=number % 2 == 0, attack_score=round(rng.random() ** (0.1, 9)[number % 2], 6))
        for number in range(4000)
    ]
    (found,) = Calibrator(FPR, DEFAULT_POLICY, 0.0).whole(rows)
    assert found.setting == "prompt_attack_threshold" and found.usable
    assert found.before is not None and found.before.threshold == 0.5
