"""Metrics that cost next to nothing to write, for what happens with every event.

prometheus_client's own take a lock and half a microsecond or more a write, ten of them an event: more than a tenth of
what the stream does for an event at all. These are plain attributes. Each child has one thread that writes it; scrapes
come on another one and only read. Series are added and listed under a lock: while a dictionary is listed a garbage
collection may begin, run somebody's Python code, and let the other thread in.
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

S = TypeVar("S")


class _Labelled(Collector, Generic[S]):
    """A metric with labels; look the series of its labels up once."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        new: Callable[[], S],
        registry: CollectorRegistry,
    ) -> None:
        """`new` makes a series."""
        self.name, self.documentation, self.labelnames = name, documentation, tuple(labelnames)
        self._new = new
        self._series: dict[tuple[str, ...], S] = {}
        self._listing = threading.RLock()
        registry.register(self)

    def labels(self, *values: str) -> S:
        """The series of these label values."""
        if (series := self._series.get(values)) is None:
            with self._listing:
                series = self._series.setdefault(values, self._new())
        return series

    def remove(self, *values: str) -> None:
        """Forgets the series of these label values, if there is one."""
        with self._listing:
            self._series.pop(values, None)

    def _listed(self) -> list[tuple[tuple[str, ...], S]]:
        """All series by their label values."""
        with self._listing:
            return list(self._series.items())


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Counts."""
        self.value += amount


class LightCounter(_Labelled[Count]):
    """A counter."""

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str], registry: CollectorRegistry = REGISTRY
    ) -> None:
        super().__init__(name, documentation, labelnames, Count, registry)

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        return [CounterMetricFamily(self.name, self.documentation, labels=self.labelnames)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labelnames)
        for values, count in self._listed():
            family.add_metric(values, count.value)
        return [family]


class LightGauge(Collector):
    """A gauge without labels, read when somebody scrapes."""

    labelnames = ()

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry = REGISTRY) -> None:
        self.name, self.documentation = name, documentation
        self._read: Callable[[], float] = lambda: 0
        registry.register(self)

    def follow(self, read: Callable[[], float]) -> None:
        """`read` says what it is now. It is called by a scrape, on a thread of its own; nothing else costs anything."""
        self._read = read

    @property
    def value(self) -> float:
        """What it is now."""
        return self._read()

    def describe(self) -> Iterable[Metric]:
        """The family without its value."""
        return [GaugeMetricFamily(self.name, self.documentation)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        return [GaugeMetricFamily(self.name, self.documentation, value=self.value)]


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last one: above all bounds
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: Sequence[float]) -> None:
        """More values. Sorted, which they nearly are where they come from a queue, they take a search a bucket instead
        of one each."""
        bounds, counts, found = self._bounds, self.counts, sorted(values)
        seen, number = 0, bisect_left(bounds, found[0]) if found else 0
        while seen < len(found):
            upto = bisect_right(found, bounds[number], seen) if number < len(bounds) else len(found)
            counts[number] += upto - seen
            seen, number = upto, number + 1
        self.sum += sum(found)


class LightHistogram(_Labelled[Distribution]):
    """A histogram."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """`buckets`: upper bounds, rising, each of them part of its bucket; what is above the last one is counted."""
        self.bounds = tuple(float(bound) for bound in buckets)
        super().__init__(name, documentation, labelnames, lambda: Distribution(self.bounds), registry)

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        return [HistogramMetricFamily(self.name, self.documentation, labels=self.labelnames)]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labelnames)
        for values, series in self._listed():
            total, buckets = 0, []
            for bound, count in zip((*map(str, self.bounds), "+Inf"), list(series.counts), strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric(values, buckets, series.sum)
        return [family]
