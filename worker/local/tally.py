"""The demo's bookkeeping: what was sent, what came back, and whether the sum holds. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from worker.contract.record import Record, header
from worker.contract.verdict import Label, verdict_id_of
from worker.local.percentile import percentile
from worker.local.traffic import Sample
from worker.settings import Settings

DEAD_LETTER = "dead letter"
OUTCOMES = (*(label.value for label in (Label.SAFE, Label.UNSAFE, Label.REVIEW)), DEAD_LETTER)


@dataclass(slots=True)
class _Sent:
    sample: Sample
    at: float  # seconds


@dataclass(slots=True)
class Tally:
    """Input records by their verdict id, and the outcomes that were seen for each."""

    outcome_of: Mapping[str, str]  # output topic -> outcome
    wanted: int  # input records that are to be sent
    sent: dict[UUID, _Sent] = field(default_factory=dict)
    outcomes: dict[UUID, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds
    repeated: int = 0
    unknown: int = 0  # output records that answer nothing we sent
    judged_right: int = 0
    judged_known: int = 0
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)

    def sent_record(self, record_id: UUID, sample: Sample, at: float) -> None:
        """A record was confirmed by the broker."""
        self.sent[record_id] = _Sent(sample, at)

    def seen(self, record: Record, at: float) -> bool:
        """An output record was read. False: its input record is not known to be sent yet; tell again later."""
        outcome = self.outcome_of[record.topic]
        verdict = None if outcome == DEAD_LETTER else orjson.loads(record.value or b"")
        record_id = id_of_dead_letter(record) if verdict is None else UUID(verdict["verdict_id"])
        if record_id not in self.sent:
            return False
        if record_id in self.outcomes:
            self.repeated += 1
            return True
        self.outcomes[record_id] = outcome
        self.counts[outcome] += 1
        sent = self.sent[record_id]
        self.latencies.append(at - sent.at)
        if verdict is not None:
            self._compare(sent.sample, verdict)
        return True

    def _compare(self, sample: Sample, verdict: dict[str, Any]) -> None:
        if sample.label is not None:
            self.judged_known += 1
            self.judged_right += verdict["label"] == sample.label
        kind = (
            "prompt attack"
            if verdict["prompt_attack"]
            else "image"
            if verdict["coverage"]["images"]
            else verdict["label"]
        )
        self.examples.setdefault(kind, verdict)

    @property
    def missing(self) -> int:
        """Records without an outcome."""
        return len(self.sent) - len(self.outcomes)

    @property
    def holds(self) -> bool:
        """in = safe + unsafe + review + dead letters, by id, each exactly once."""
        all_sent = len(self.sent) == self.wanted > 0
        return all_sent and self.missing == 0 and self.repeated == 0 and self.unknown == 0

    def latency(self, share: float) -> float | None:
        """A percentile of the latencies, in seconds; None without any."""
        return percentile(self.latencies, share) if self.latencies else None


def id_of_dead_letter(record: Record) -> UUID:
    """The id that a verdict on the input record of a dead letter would have had."""

    def text(name: str) -> str:
        return (header(record.headers, f"moderation-source-{name}") or b"").decode()

    return verdict_id_of(text("topic"), int(text("partition")), int(text("offset")), int(text("timestamp")))


def outcomes_of(settings: Settings) -> dict[str, str]:
    """The outcome that a record in each output topic is."""
    return {
        settings.safe_topic: Label.SAFE.value,
        settings.unsafe_topic: Label.UNSAFE.value,
        settings.review_topic: Label.REVIEW.value,
        settings.dead_letter_topic: DEAD_LETTER,
    }
