"""Works without Kafka, for tests of what keeps something about them."""

from collections.abc import Hashable
from typing import TypeVar

from worker.contract.record import PlainRecord
from worker.contract.verdict import Verdict
from worker.stream.progress import PartitionProgress, Progress
from worker.stream.work import Outcome, Work

P = TypeVar("P", bound=Hashable)

NOON = 1_700_000_000_000  # milliseconds since the epoch


def work(
    offset: int = 0,
    *,
    partition: int = 0,
    key: bytes | None = None,
    outcome: Outcome | None = None,
    arrived: float = 0.0,
    decided: float = 0.0,
) -> Work:
    """One that belongs to a partition of its own."""
    record = PlainRecord("chat.events", partition, offset, NOON, key, b"what it says")
    made = Work(record, arrived, lambda _works: None, PartitionProgress(partition))
    made.outcome, made.decided = outcome, decided
    if isinstance(outcome, Verdict):
        made.verdict = outcome
    return made


def taken(progress: Progress[P], partition: P, *offsets: int) -> list[Work]:
    """Works of one of its partitions, which they were fetched from."""
    owner = progress.of(partition)
    assert owner is not None
    works = [Work(PlainRecord("t", 0, offset, NOON), 0.0, lambda _works: None, owner) for offset in offsets]
    owner.take(works)
    return works
