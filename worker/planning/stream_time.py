"""What an event takes besides its guards: Kafka, preparation and publishing, as a distribution in seconds."""

import math
from collections.abc import Callable, Sequence
from random import Random
from statistics import NormalDist
from typing import Final

# Assumed until it was measured: what docs/benchmarks.md sets as the goal for the stream.
ASSUMED_P50: Final = 0.025
ASSUMED_P99: Final = 0.060

StreamTime = Callable[[Random], float]


def measured(samples: Sequence[float]) -> StreamTime:
    """One of the seconds that were measured with guards that cost nothing. Raises ValueError where there are none."""
    if not samples:
        raise ValueError("no event was answered: nothing is known of the stream's own time")
    return lambda rng: rng.choice(samples)


def lognormal(p50: float = ASSUMED_P50, p99: float = ASSUMED_P99) -> StreamTime:
    """The lognormal distribution with this median and this 99th percentile, in seconds. Raises ValueError where the
    percentile is not the larger one."""
    if not 0 < p50 <= p99:
        raise ValueError(f"the stream's p99 ({p99 * 1000:g} ms) must not be below its median ({p50 * 1000:g} ms)")
    middle, width = math.log(p50), math.log(p99 / p50) / NormalDist().inv_cdf(0.99)
    return lambda rng: rng.lognormvariate(middle, width)
