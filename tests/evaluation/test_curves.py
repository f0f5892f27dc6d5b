"""Curves against scikit-learn's, and their intervals against what they promise."""

import random

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from worker.evaluation.curves import Curve, ScoredLabel, thinned


def scored(seed: int, count: int, digits: int = 6) -> list[ScoredLabel]:
    """Scores that tell the classes apart more or less; with few digits many are equal."""
    rng = random.Random(seed)
    truths = [True, False, *(rng.random() < 0.3 for _ in range(count - 2))]
    return [(round(rng.betavariate(3, 2) if truth else rng.betavariate(2, 3), digits), truth) for truth in truths]


@pytest.mark.parametrize("digits", [6, 1])
@pytest.mark.parametrize("seed", range(10))
def test_as_scikit_learn_has_them(seed: int, digits: int) -> None:
    examples = scored(seed, 10 + 40 * seed, digits)
    scores, truths = [score for score, _ in examples], [truth for _, truth in examples]
    curve = Curve.of(examples)
    assert curve is not None
    assert curve.auc.value == pytest.approx(roc_auc_score(truths, scores))
    assert curve.average_precision == pytest.approx(average_precision_score(truths, scores))
    rates, recalls, _ = roc_curve(truths, scores, drop_intermediate=False)
    assert np.array(curve.roc) == pytest.approx(np.column_stack([rates, recalls]))
    precisions, steps, _ = precision_recall_curve(truths, scores)
    assert np.array(curve.precision_recall) == pytest.approx(np.column_stack([steps[::-1], precisions[::-1]]))


def test_recall_at_one_percent_by_hand() -> None:
    """Of 200 harmless ones 2 may be flagged: those at .8 and .7; the third is at .6."""
    harmless = [(0.8, False), (0.7, False), (0.6, False), *[(0.1, False)] * 197]
    attacks = [(0.9, True), (0.75, True), (0.65, True), (0.6, True), (0.2, True)]
    curve = Curve.of([*harmless, *attacks])
    assert curve is not None
    found = curve.recall_at(0.01)
    assert found is not None
    assert (found[0].value, found[1]) == (3 / 5, 0.65)


def test_recall_at_one_percent_needs_a_hundred_harmless_ones() -> None:
    for harmless, known in ((99, False), (100, True)):
        curve = Curve.of([(0.9, True), *[(0.1, False)] * harmless])
        assert curve is not None and (curve.recall_at(0.01) is not None) == known


def test_one_class_has_no_curve() -> None:
    assert Curve.of([]) is None
    assert Curve.of([(0.5, True)]) is None
    assert Curve.of([(0.5, False), (0.7, False)]) is None


def test_a_perfect_area_of_few_examples_has_an_interval() -> None:
    curve = Curve.of([(0.9, True)] * 5 + [(0.1, False)] * 5)
    assert curve is not None
    assert (curve.auc.value, curve.auc.high) == (1.0, 1.0)
    assert curve.auc.low < 0.75


def test_the_interval_of_the_area_holds() -> None:
    """Scores uniform on [0, 1] against their square roots: a positive is higher with a probability of 2/3."""
    rng, draws, held = random.Random(3), 600, 0
    for _ in range(draws):
        positives = [(rng.random() ** 0.5, True) for _ in range(60)]
        curve = Curve.of([*positives, *((rng.random(), False) for _ in range(80))])
        assert curve is not None
        held += curve.auc.low <= 2 / 3 <= curve.auc.high
    assert 0.92 <= held / draws <= 0.985


def test_thinned_keeps_the_ends() -> None:
    points = [(each / 1000, each / 1000) for each in range(1001)]
    few = thinned(points, 50)
    assert len(few) <= 52 and few[0] == points[0] and few[-1] == points[-1]
    assert thinned(points[:10], 50) == points[:10]
