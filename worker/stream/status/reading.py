"""A reading of the worker's own metrics, and what two of them say about the time between."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

from worker.observability import metrics

_COUNTED: Final[tuple[Collector, ...]] = (
    metrics.RECORDS,
    metrics.VERDICTS,
    metrics.VIOLATIONS,
    metrics.PROMPT_ATTACKS,
    metrics.DEAD_LETTERS,
    metrics.CONSUMER_LAG,
    metrics.PARTITIONS,
    metrics.IN_FLIGHT_EVENTS,
    metrics.IN_FLIGHT_BYTES,
    metrics.OLDEST_UNFINISHED,
    metrics.DEVICE_BUSY,
    metrics.DEVICE_MEMORY,
    metrics.BATCHES,
    metrics.BATCH_CHECKS,
    metrics.BATCH_TOKENS,
    metrics.BATCH_PADDED_TOKENS,
    metrics.BATCH_BUDGET_TOKENS,
    metrics.FAULTS,
    metrics.GUARD_BREAKER_STATE,
    metrics.VERDICT_CACHE_LOOKUPS,
    metrics.POLICY_RELOADS,
    metrics.POLICIES_REFUSED,
    metrics.POLICIES_LOADED,
    metrics.MODEL,
    metrics.SUSPECTS,
    metrics.SHADOW_VERDICTS,
    metrics.SHADOW_DROPPED,
    metrics.SHADOW_ERRORS,
    metrics.REVIEWS,
    metrics.REVIEWS_UNREAD,
)
_PREFIX: Final = "moderation_"

Series = Mapping[tuple[str, ...], float]  # label values -> value


@dataclass(frozen=True)
class Reading:
    """Metrics at a moment, by their names in the code without `moderation_`."""

    at: float
    """Seconds on time.monotonic."""
    families: Mapping[str, Series] = field(default_factory=dict)
    latencies: tuple[int, ...] = ()
    """Events by the bucket of their time from arrival to confirmation; the last one is above all bounds."""

    def value(self, name: str, *labels: str) -> float:
        """A series' value; 0 where there is none."""
        return self.families.get(name, {}).get(labels, 0.0)

    def total(self, name: str) -> float:
        """The sum of a metric's series."""
        return sum(self.families.get(name, {}).values())

    def by(self, name: str, label: int = 0) -> dict[str, float]:
        """A metric's values by one of its labels, summed over the others."""
        sums: dict[str, float] = {}
        for labels, value in self.families.get(name, {}).items():
            sums[labels[label]] = sums.get(labels[label], 0.0) + value
        return sums


def read() -> Reading:
    """The metrics now. Takes a fraction of a millisecond, on any thread."""
    families = {name: series for collector in _COUNTED for name, series in _series(collector.collect())}
    return Reading(time.monotonic(), families, tuple(metrics.END_TO_END.labels().counts))


def _series(found: Iterable[Metric]) -> Iterable[tuple[str, Series]]:
    for family in found:
        samples = (each for each in family.samples if not each.name.endswith("_created"))
        yield family.name.removeprefix(_PREFIX), {tuple(each.labels.values()): each.value for each in samples}


@dataclass(frozen=True)
class Span:
    """What happened between two readings."""

    before: Reading
    now: Reading

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.now.at - self.before.at

    def more(self, name: str, *labels: str) -> float:
        """How much a series has grown."""
        return max(0.0, self.now.value(name, *labels) - self.before.value(name, *labels))

    def more_in_all(self, name: str) -> float:
        """How much all series of a metric have grown together."""
        return max(0.0, self.now.total(name) - self.before.total(name))

    def more_by(self, name: str) -> dict[str, float]:
        """How much a metric has grown, by its first label; what has not is left out."""
        before = self.before.by(name)
        grown = {key: value - before.get(key, 0.0) for key, value in self.now.by(name).items()}
        return {key: value for key, value in grown.items() if value > 0}

    def rate(self, amount: float) -> float:
        """That amount a second."""
        return amount / self.seconds if self.seconds > 0 else 0.0

    def share(self, part: str, whole: str, *labels: str) -> float | None:
        """What one metric has grown of what another has; None where that is nothing."""
        of = self.more(whole, *labels)
        return self.more(part, *labels) / of if of else None

    def latency(self, quantile: float) -> float | None:
        """Seconds that this share of the events took at most, as Prometheus' histogram_quantile estimates it; None
        where there were none."""
        before = self.before.latencies or (0,) * len(self.now.latencies)
        counts = [max(0, now - then) for now, then in zip(self.now.latencies, before, strict=True)]
        return _quantile(quantile, metrics.END_TO_END.bounds, counts)


def _quantile(quantile: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Linear within its bucket; the highest bound for what lies above all."""
    wanted, below, low = quantile * sum(counts), 0, 0.0
    if not sum(counts):
        return None
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= wanted:
            return low + (bound - low) * (wanted - below) / count
        below, low = below + count, bound
    return bounds[-1]
