"""Which offsets may be committed: each partition's finished prefix. Pure: no Kafka, no clock."""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from worker.stream.work import Work

P = TypeVar("P", bound=Hashable)


class PartitionProgress(Generic[P]):
    """One partition during one assignment: works outstanding in offset order, and the end of the finished prefix."""

    __slots__ = ("committed", "end", "live", "outstanding", "partition", "unstarted")

    def __init__(self, partition: P) -> None:
        self.partition = partition
        self.live = True  # False once the partition was taken away: nothing of it is published or committed any more
        self.outstanding: deque[Work] = deque()
        self.unstarted: deque[Work] = deque()  # in offset order; may begin with some that have started since
        self.end: int | None = None  # the offset after the finished prefix
        self.committed: int | None = None

    def take(self, works: Sequence[Work]) -> None:
        """Records were fetched. Offsets only grow."""
        self.outstanding.extend(works)
        self.unstarted.extend(works)

    def starting(self) -> list[Work]:
        """Those that have waited for it and start now, because all before them have. They are started then."""
        unstarted, starting = self.unstarted, []
        while unstarted:
            first = unstarted[0]
            if not first.started:
                if not first.waits_for_start:
                    break
                first.started = True
                starting.append(first)
            unstarted.popleft()
        return starting

    def forget(self) -> None:
        """Its works are another worker's: they know it, and it lets go of them."""
        self.outstanding.clear()
        self.unstarted.clear()

    def to_give_back(self) -> list[Work]:
        """The works at the end, after the last one that has started.

        Only these: were an earlier one given back, the finished ones behind it would be read and judged again.
        """
        given_back: list[Work] = []
        for work in reversed(self.outstanding):
            if work.started or work.done:
                break
            given_back.append(work)
        return given_back

    def advance(self) -> None:
        """Moves the end over everything that is finished at the front."""
        outstanding, last = self.outstanding, None
        while outstanding and outstanding[0].done:
            last = outstanding.popleft()
        if last is not None:
            self.end = last.offset + 1


class Progress(Generic[P]):
    """The progress of all partitions that this worker owns."""

    def __init__(self) -> None:
        self._owned: dict[P, PartitionProgress[P]] = {}

    @property
    def owned(self) -> tuple[P, ...]:
        """The partitions that are ours now."""
        return tuple(self._owned)

    def of(self, partition: P) -> PartitionProgress[P] | None:
        """A partition's progress. None: it was taken away, and its new owner reads it."""
        return self._owned.get(partition)

    def assign(self, partitions: Iterable[P]) -> None:
        """The group gave us exactly these partitions, and reading begins at what is committed of them."""
        self.revoke(self.owned)
        self._owned = {partition: PartitionProgress(partition) for partition in partitions}

    def revoke(self, partitions: Iterable[P]) -> list[PartitionProgress[P]]:
        """These are no longer ours: whatever finishes later of them is stale. Those that went."""
        gone = [self._owned.pop(partition) for partition in dict.fromkeys(partitions) if partition in self._owned]
        for each in gone:
            each.live = False
        return gone

    def to_give_back(self, partitions: Iterable[P]) -> list[Work]:
        """What need not be finished of these partitions before they go."""
        known = (self._owned[partition] for partition in partitions if partition in self._owned)
        return [work for progress in known for work in progress.to_give_back()]

    def done(self, works: Iterable[Work]) -> None:
        """The broker confirmed the works' outcomes."""
        owners = set()
        for work in works:
            work.done = True
            owners.add(work.owner)
        for owner in owners:
            owner.advance()

    def idle(self, partition: P) -> bool:
        """Whether nothing of an owned partition is outstanding: its whole position may then be committed."""
        progress = self._owned.get(partition)
        return progress is not None and not progress.outstanding

    def finished_to(self, partition: P) -> int | None:
        """The offset after a partition's finished prefix; None where it is not ours, or nothing is known of it yet."""
        progress = self._owned.get(partition)
        if progress is None:
            return None
        if progress.end is None and progress.outstanding:
            return progress.outstanding[0].offset
        return progress.end

    def moved_to(self, partition: P, position: int) -> None:
        """The consumer's position of an idle partition: over transaction markers and compaction's holes."""
        progress = self._owned[partition]
        progress.end = max(progress.end or 0, position)

    def to_commit(self) -> dict[P, int]:
        """The ends that moved since the last commit."""
        return {
            partition: progress.end
            for partition, progress in self._owned.items()
            if progress.end is not None and progress.end != progress.committed
        }

    def committed(self, ends: dict[P, int]) -> None:
        """The broker took these commits."""
        for partition, end in ends.items():
            if (progress := self._owned.get(partition)) is not None:
                progress.committed = end
