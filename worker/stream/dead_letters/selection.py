"""Which dead letters are meant: the filters of `dead-letters list` and `replay`. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from worker.contract.stored_letter import StoredLetter


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters that must all hold; an empty one lets everything through."""

    causes: tuple[str, ...] = ()
    """Error types."""
    source_topics: tuple[str, ...] = ()
    since: datetime | None = None
    """Aware; the earliest time at which it became a dead letter."""
    until: datetime | None = None
    """Aware; before this time."""

    @property
    def since_milliseconds(self) -> int | None:
        """Since the epoch, as Kafka counts."""
        return None if self.since is None else milliseconds(self.since)

    def takes(self, letter: StoredLetter) -> bool:
        """Whether all filters hold for a dead letter."""
        moment = letter.record.timestamp
        return (
            (not self.causes or letter.told.error_type in self.causes)
            and (not self.source_topics or letter.told.source_topic in self.source_topics)
            and (self.since is None or milliseconds(self.since) <= moment)
            and (self.until is None or moment < milliseconds(self.until))
        )

    def __str__(self) -> str:
        """The filters as options of the command, the same for the same selection; empty for everything."""
        words = [f"--cause {cause}" for cause in sorted({*self.causes})]
        words += [f"--source-topic {topic}" for topic in sorted({*self.source_topics})]
        words += [f"--since {iso(milliseconds(self.since))}"] if self.since else []
        words += [f"--until {iso(milliseconds(self.until))}"] if self.until else []
        return " ".join(words)


def milliseconds(moment: datetime) -> int:
    """Since the epoch, as Kafka counts."""
    return int(moment.timestamp() * 1000)


def iso(timestamp: int) -> str:
    """A record's timestamp (milliseconds since the epoch) in UTC; `-` where it has none or none that a clock shows."""
    try:
        moment = datetime.fromtimestamp(timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return "-"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if timestamp >= 0 else "-"
