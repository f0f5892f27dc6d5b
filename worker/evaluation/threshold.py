"""A threshold for a target, from scores with their true labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from worker.evaluation.curves import ScoredLabel
from worker.evaluation.estimate import Estimate, proportion, wilson

_STEP = 1e-6  # scores have six digits


class Unreachable(Exception):  # it reads as what happened, like Unjudgeable
    """No threshold reaches the target; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a threshold is to reach: a false positive rate of at most `value`, or a recall of at least `value`."""

    kind: Literal["fpr", "recall"]
    value: float

    @property
    def error_rate(self) -> float:
        """The share of its examples (the safe, or the unsafe) that may come out wrong."""
        return self.value if self.kind == "fpr" else 1 - self.value

    @property
    def examples_needed(self) -> int:
        """The fewest held-out examples that can carry the claim.

        The rule: if exactly the target's share of them came out wrong, the 95 % interval must exclude twice that share.
        With fewer, a threshold twice as bad as asked for could not be told from a good one.
        """
        fewest, enough = 1, 2
        while wilson(self.error_rate, enough)[1] >= 2 * self.error_rate:
            fewest, enough = enough, 2 * enough
        while enough - fewest > 1:
            middle = (fewest + enough) // 2
            if wilson(self.error_rate, middle)[1] < 2 * self.error_rate:
                enough = middle
            else:
                fewest = middle
        return enough

    @property
    def kind_of_examples(self) -> str:
        """Which examples the target is about."""
        return "safe" if self.kind == "fpr" else "unsafe"

    def __str__(self) -> str:
        return f"{'a false positive rate of at most' if self.kind == 'fpr' else 'a recall of at least'} {self.value:g}"


def threshold_for(scored: Sequence[ScoredLabel], target: Target, lowest: float = 0.0) -> float:
    """The threshold at which the expected share of errors on new examples like these is at most the target's.

    Of n examples k may come out wrong where (k + 1) / (n + 1) is within the target: a new one falls into each of the
    n + 1 gaps between them with the same probability. For a false positive rate it is the lowest such threshold, from
    `lowest` up, for a recall the highest. Raises Unreachable.
    """
    scores = sorted(score for score, unsafe in scored if unsafe == (target.kind == "recall"))
    # (k + 1) of the n + 1 gaps, less a hair for 0.01 * 100 == 1.0000000000000002 and its like
    gaps = math.floor(target.error_rate * (len(scores) + 1) + 1e-9)
    if gaps < 1:
        least = math.ceil(1 / target.error_rate) - 1
        raise Unreachable(
            f"{len(scores)} {target.kind_of_examples} examples to calibrate on, {least} or more are needed"
        )
    if target.kind == "recall":
        return _for_recall(scores[gaps - 1], lowest)
    threshold = round(scores[-gaps] + _STEP, 6)
    if threshold > 1:
        certain = sum(score >= 1 for score in scores)
        raise Unreachable(f"{certain} of {len(scores)} safe examples have the highest score, 1.0")
    return max(threshold, lowest)


def _for_recall(threshold: float, lowest: float) -> float:
    if threshold < lowest or threshold <= 0:
        raise Unreachable(
            f"too many unsafe examples are not named: their score would have to count from {threshold:g}, and it is "
            f"known from {lowest:g} up"
        )
    return threshold


@dataclass(frozen=True, slots=True)
class Reached:
    """What a threshold does to examples that had no part in choosing it."""

    threshold: float
    false_positive_rate: Estimate | None
    recall: Estimate | None

    @classmethod
    def by(cls, threshold: float, held_out: Sequence[ScoredLabel]) -> "Reached":
        """The measures, from `threshold` up being flagged."""
        flagged = {
            truth: [score >= threshold for score, unsafe in held_out if unsafe == truth] for truth in (True, False)
        }
        return cls(
            threshold,
            proportion(sum(flagged[False]), len(flagged[False])),
            proportion(sum(flagged[True]), len(flagged[True])),
        )

    def of(self, target: Target) -> Estimate | None:
        """The measure that the target is about."""
        return self.false_positive_rate if target.kind == "fpr" else self.recall
