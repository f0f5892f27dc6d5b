"""Curves over all thresholds: ROC, precision and recall, and what they sum up to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.evaluation.estimate import Z95, Estimate, proportion

ScoredLabel = tuple[float, bool]  # a score, and whether the example is a positive


@dataclass(frozen=True, slots=True)
class Point:
    """What one threshold does: everything from `threshold` up is flagged."""

    threshold: float
    hits: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class Curve:
    """All thresholds that make a difference, from the highest down, with both kinds of examples there."""

    points: tuple[Point, ...]
    positives: int
    negatives: int

    @classmethod
    def of(cls, scored: Sequence[ScoredLabel]) -> "Curve | None":
        """The curve; None where one class is missing."""
        positives = sum(positive for _, positive in scored)
        if positives in (0, len(scored)):
            return None
        points, hits, false_alarms = [Point(math.inf, 0, 0)], 0, 0
        ordered = sorted(scored, key=lambda each: -each[0])
        for at, (score, positive) in enumerate(ordered):
            hits, false_alarms = hits + positive, false_alarms + (not positive)
            if at + 1 == len(ordered) or ordered[at + 1][0] != score:
                points.append(Point(score, hits, false_alarms))
        return cls(tuple(points), positives, len(scored) - positives)

    @property
    def roc(self) -> list[tuple[float, float]]:
        """(false positive rate, recall), rising."""
        return [(each.false_alarms / self.negatives, each.hits / self.positives) for each in self.points]

    @property
    def precision_recall(self) -> list[tuple[float, float]]:
        """(recall, precision), from the highest threshold down; of nothing flagged the precision is 1."""
        flagged = [(each.hits, each.hits + each.false_alarms) for each in self.points]
        return [(hits / self.positives, hits / all_ if all_ else 1.0) for hits, all_ in flagged]

    @property
    def auc(self) -> Estimate:
        """The area under the ROC curve: how likely a positive scores higher than a negative, ties counting half."""
        roc = self.roc
        area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(roc))
        low, high = self._auc_bound(area, -1), self._auc_bound(area, 1)
        return Estimate(area, low, high, self.positives + self.negatives)

    @property
    def average_precision(self) -> float:
        """Precision, weighted by how much recall each threshold adds."""
        steps = self.precision_recall
        return sum((r1 - r0) * p1 for (r0, _), (r1, p1) in pairwise(steps))

    def recall_at(self, false_positive_rate: float) -> tuple[Estimate, float] | None:
        """The highest recall at no more than a false positive rate, and its threshold.

        None where one false alarm among the negatives would be more already.
        """
        allowed = int(false_positive_rate * self.negatives + 1e-9)
        if allowed < 1:
            return None
        best = max((each for each in self.points if each.false_alarms <= allowed), key=lambda each: each.hits)
        estimate = proportion(best.hits, self.positives)
        return None if estimate is None else (estimate, min(best.threshold, 1.0))

    def _auc_bound(self, area: float, side: int) -> float:
        """Where the area would lie 1.96 standard errors away, by the standard error there (Hanley and McNeil 1982;
        solved as Wilson's is, Newcombe 2006): so that an area of 1 from few examples has an interval too."""
        inner, outer = area, 1.0 if side > 0 else 0.0
        for _ in range(60):
            middle = (inner + outer) / 2
            if abs(middle - area) <= Z95 * self._auc_error(middle):
                inner = middle
            else:
                outer = middle
        return (inner + outer) / 2

    def _auc_error(self, area: float) -> float:
        both_positive, both_negative = area / (2 - area), 2 * area**2 / (1 + area)
        variance = (
            area * (1 - area)
            + (self.positives - 1) * (both_positive - area**2)
            + (self.negatives - 1) * (both_negative - area**2)
        ) / (self.positives * self.negatives)
        return math.sqrt(max(0.0, variance))


def thinned(points: Sequence[tuple[float, float]], most: int = 300) -> list[tuple[float, float]]:
    """No more than about `most` points of a curve, its ends among them."""
    step = max(1, math.ceil(len(points) / most))
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
