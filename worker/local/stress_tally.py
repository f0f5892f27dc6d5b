"""The bookkeeping of a stress run: what was sent, what came back, how long it took. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from worker.local.percentile import percentile

_FORGET_SECONDS = 60.0  # an answer that is nobody's after this time is to somebody else's event


class Passage(NamedTuple):
    """One event's way through the stream; seconds on one clock."""

    sent: float
    decided: float  # by the worker's own word
    answered: float


class _Reading(NamedTuple):
    outcome: str
    at: float
    decided: float | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must keep to; None: anything goes."""

    max_lost: int | None = 0
    max_duplicated: int | None = None
    max_p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class StressReport:
    """What came of a run. Latencies are from the event's sending to the reading of its outcome, in milliseconds."""

    sent: int
    refused: int  # by the broker, so never sent
    answered: int
    lost: int  # sent, and without an outcome at the end of the run: where the worker is behind, it may come yet
    duplicated: int  # outcomes beyond the first of an event
    late: int  # answered after the time that counts as late
    seconds: float
    sent_per_second: float
    answered_per_second: float
    outcomes: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    def failures(self, thresholds: Thresholds) -> list[str]:
        """A sentence for each threshold that was not kept."""
        told = []
        if self.answered == 0:
            told.append("nothing was answered: is a worker running on these topics?")
        if (most := thresholds.max_lost) is not None and self.lost > most:
            told.append(f"{self.lost} without an outcome, more than {most}: lost, or waiting still? (--wait, --rate)")
        if (most := thresholds.max_duplicated) is not None and self.duplicated > most:
            told.append(f"{self.duplicated} duplicated, more than {most}")
        if thresholds.max_p99_ms is not None and self.p99_ms is not None and self.p99_ms > thresholds.max_p99_ms:
            told.append(f"p99 is {self.p99_ms:.0f} ms, more than {thresholds.max_p99_ms:g}")
        return told


@dataclass(slots=True)
class StressTally:
    """Counts. Times are seconds on one clock."""

    late_seconds: float = 1.0
    refused: int = 0
    duplicated: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    _sent: dict[UUID, float] = field(default_factory=dict)
    _latencies: dict[UUID, float] = field(default_factory=dict)
    _decided: dict[UUID, float] = field(default_factory=dict)
    _early: dict[UUID, list[_Reading]] = field(default_factory=dict)

    def sent(self, event: UUID, at: float) -> None:
        """The broker confirmed an event that was sent at `at`. Its answer may have overtaken that."""
        self._sent[event] = at
        for reading in self._early.pop(event, ()):
            self.answered(event, *reading)

    def answered(self, event: UUID, outcome: str, at: float, decided: float | None = None) -> None:
        """An outcome was read, of an event of ours or of somebody else's; `decided`: when it was, where it says so."""
        if event not in self._sent:
            self._early.setdefault(event, []).append(_Reading(outcome, at, decided))
        elif event in self._latencies:
            self.duplicated += 1
        else:
            self._latencies[event] = at - self._sent[event]
            self.outcomes[outcome] += 1
            if decided is not None:
                self._decided[event] = decided

    def forget(self, now: float) -> None:
        """Drops answers to other people's events."""
        old = [event for event, answers in self._early.items() if now - answers[0].at > _FORGET_SECONDS]
        for event in old:
            del self._early[event]

    @property
    def sent_count(self) -> int:
        """Events that the broker confirmed."""
        return len(self._sent)

    @property
    def missing(self) -> int:
        """Events without an outcome so far."""
        return len(self._sent) - len(self._latencies)

    def recent_ms(self, count: int = 1000) -> float | None:
        """The median latency of the last answers, in milliseconds."""
        return _percentile_ms(list(self._latencies.values())[-count:], 0.5)

    @property
    def passages(self) -> list[Passage]:
        """The answered events that say when they were decided."""
        sent, latencies = self._sent, self._latencies
        return [Passage(sent[each], at, sent[each] + latencies[each]) for each, at in self._decided.items()]

    def report(self, seconds: float) -> StressReport:
        """The report on a run of so many seconds."""
        latencies = list(self._latencies.values())
        return StressReport(
            sent=len(self._sent),
            refused=self.refused,
            answered=len(latencies),
            lost=self.missing,
            duplicated=self.duplicated,
            late=sum(latency > self.late_seconds for latency in latencies),
            seconds=round(seconds, 3),
            sent_per_second=round(len(self._sent) / seconds, 1),
            answered_per_second=round(len(latencies) / seconds, 1),
            outcomes=dict(self.outcomes),
            p50_ms=_percentile_ms(latencies, 0.5),
            p95_ms=_percentile_ms(latencies, 0.95),
            p99_ms=_percentile_ms(latencies, 0.99),
            max_ms=_percentile_ms(latencies, 1.0),
        )


def _percentile_ms(seconds: Sequence[float], share: float) -> float | None:
    return round(1000 * percentile(seconds, share), 3) if seconds else None
