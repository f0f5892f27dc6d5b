"""An estimate: a measured value with its 95 % confidence interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value between 0 and 1 (a difference: between -1 and 1) and the interval it is known to."""

    value: float
    low: float
    high: float
    n: int  # examples it rests on

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def proportion(hits: int, n: int) -> Estimate | None:
    """hits of n, with Wilson's score interval; None of nothing."""
    if n == 0:
        return None
    low, high = wilson(hits / n, n)
    return Estimate(hits / n, low, high, n)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share of n > 0 examples."""
    scale = 1 + Z95**2 / n
    middle = (share + Z95**2 / (2 * n)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    # The share itself is always within: at 0 and 1 rounding would leave it out by a hair.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def f1_score(hits: int, false_alarms: int, misses: int) -> Estimate | None:
    """F1 = 2J / (1 + J), where J is the share of hits among hits, false alarms and misses: so J's Wilson interval gives
    that of F1. None of nothing."""
    jaccard = proportion(hits, hits + false_alarms + misses)
    if jaccard is None:
        return None
    value, low, high = (2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high))
    return Estimate(value, low, high, jaccard.n)


def average(parts: Sequence[Estimate | None], distinct: int) -> Estimate | None:
    """The mean of the parts that there are, each weighing the same; None of none.

    The interval squares and adds the distances from each part's value to its bounds (Zou and Donner 2008), which takes
    the parts as independent. Where they share examples (`distinct` counts each once) it is widened by the root of how
    often an example counts on average: parts that are all the same have the interval of one.
    """
    there = [part for part in parts if part is not None]
    if not there:
        return None
    value = sum(part.value for part in there) / len(there)
    sharing = max(1.0, sum(part.n for part in there) / max(distinct, 1))
    scale = math.sqrt(sharing) / len(there)
    low = value - scale * math.hypot(*(part.value - part.low for part in there))
    high = value + scale * math.hypot(*(part.high - part.value for part in there))
    return Estimate(value, max(0.0, low), min(1.0, high), distinct)


def difference(now: Estimate | None, before: Estimate | None, correlation: float) -> Estimate | None:
    """now - before, on the same examples: Newcombe's interval for paired shares (1998, method 10).

    `correlation` is that of the two runs' answers, example by example.
    """
    if now is None or before is None:
        return None
    value = now.value - before.value
    down = _side(now.value - now.low, before.high - before.value, correlation)
    up = _side(now.high - now.value, before.value - before.low, correlation)
    return Estimate(value, max(-1.0, value - down), min(1.0, value + up), min(now.n, before.n))


def _side(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def correlation_of(pairs: Sequence[tuple[bool, bool]]) -> float:
    """The phi coefficient of pairs of answers; 0 where one side never varies."""
    both = sum(a and b for a, b in pairs)
    first, second, n = sum(a for a, _ in pairs), sum(b for _, b in pairs), len(pairs)
    spread = first * (n - first) * second * (n - second)
    return (n * both - first * second) / math.sqrt(spread) if spread else 0.0
