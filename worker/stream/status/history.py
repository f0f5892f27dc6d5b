"""The last minutes, a point a second: bounded however long the worker runs."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from worker.contract.verdict import Label
from worker.stream.status.reading import Reading, Span

SECONDS: Final = 300
"""How far the plots go back."""
FIGURE_SECONDS: Final = 60
"""What the figures of now are taken over, where few events a second would let them jump."""
_POINT_SECONDS: Final = 5  # what a point is taken over
CELL_SECONDS: Final = 10
"""A cell of the categories' strips."""

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LABELS: Final = tuple(label.value for label in Label)


@dataclass(frozen=True, slots=True)
class Point:
    """A second of the plots."""

    at: float
    plotted: dict[str, float | None]
    violations: dict[str, float]
    dead_letters: dict[str, float]


class History:
    """Takes a reading a second. One thread samples, any other one asks."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        first = read()
        self._readings: deque[Reading] = deque([first], maxlen=FIGURE_SECONDS + 1)
        self._points: deque[Point] = deque(maxlen=SECONDS)

    def sample(self) -> None:
        """Takes a reading."""
        now, last = self._read(), self._readings[-1]
        self._readings.append(now)
        latest = Span(last, now)
        lately = self.span(_POINT_SECONDS)
        point = Point(now.at, _plotted(lately), latest.more_by("violations"), latest.more_by("dead_letters"))
        self._points.append(point)

    @property
    def now(self) -> Reading:
        """The last reading."""
        return self._readings[-1]

    def span(self, seconds: float) -> Span:
        """The last so many seconds, or as far as the readings go back."""
        readings = self._readings.copy()
        now = readings[-1]
        far_enough = [each for each in readings if now.at - each.at >= seconds - 0.5]
        return Span(far_enough[-1] if far_enough else readings[0], now)

    def plots(self) -> dict[str, Any]:
        """What is drawn over the last minutes: a list for each line, and the seconds before now of their points."""
        points = self._points.copy()
        names = list(points[-1].plotted) if points else []
        lines = {name: [_rounded(point.plotted.get(name)) for point in points] for name in names}
        return {"ago": [round(self.now.at - point.at, 1) for point in points], "lines": lines}

    def categories(self) -> dict[str, list[float]]:
        """Category key -> how often it was violated in each cell of the last minutes, the newest last."""
        strips: dict[str, list[float]] = {}
        for point in self._points.copy():
            cell = SECONDS // CELL_SECONDS - 1 - int((self.now.at - point.at) // CELL_SECONDS)
            for key, count in point.violations.items():
                strip = strips.setdefault(key, [0.0] * (SECONDS // CELL_SECONDS))
                strip[max(0, cell)] += count
        return strips

    def dead_letters(self) -> dict[str, float]:
        """Cause -> dead letters of the last minutes."""
        causes: dict[str, float] = {}
        for point in self._points.copy():
            for cause, count in point.dead_letters.items():
                causes[cause] = causes.get(cause, 0.0) + count
        return causes


def _plotted(span: Span) -> dict[str, float | None]:
    labels = {label: span.rate(span.more("verdicts", label)) for label in LABELS}
    return {
        "in": span.rate(span.more("records")),
        **labels,
        "dead_letter": span.rate(span.more_in_all("dead_letters")),
        **{name: span.latency(quantile) for name, quantile in QUANTILES.items()},
        "lag": span.now.total("consumer_lag") if span.now.families.get("consumer_lag") else None,
        "busy": min(1.0, span.rate(span.more("device_busy_seconds"))),
        "fill": fill(span),
    }


def fill(span: Span) -> float | None:
    """Padded tokens of all guards' batches, of those that these could have held; None where there were none."""
    budget = span.more_in_all("batch_budget_tokens")
    return span.more_in_all("batch_padded_tokens") / budget if budget else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
