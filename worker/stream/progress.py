"""Which offsets may be committed: each partition's finished prefix. Pure: no Kafka, no clock."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Entry(Generic[P]):
    """One record on its way. It is a ticket: whoever begins the costly part of its work sets `started`."""

    __slots__ = ("_started", "_then", "done", "offset", "owner")

    def __init__(self, owner: "PartitionProgress[P]", offset: int) -> None:
        self.owner, self.offset = owner, offset
        self.done = False
        self._started = False
        self._then: Callable[[], None] | None = None

    @property
    def started(self) -> bool:
        """Whether it must be finished before its partition goes."""
        return self._started

    @started.setter
    def started(self, value: bool) -> None:
        self._started = value
        self.owner.tell_next()

    def when_all_before_started(self, then: Callable[[], None]) -> None:
        """Calls `then` once, when every earlier record of the partition has started; now, where that is so.

        For what costs nothing, a dead letter or a cached verdict: were it finished before them, all of them would have
        to be finished before the partition goes.
        """
        self._then = then
        self.owner.tell_next()

    def tell(self) -> None:
        """Every earlier record has started."""
        then, self._then = self._then, None
        if then is not None:
            then()


class PartitionProgress(Generic[P]):
    """One partition during one assignment: records outstanding in offset order, and the end of the finished prefix."""

    __slots__ = ("committed", "end", "live", "outstanding", "partition", "unstarted")

    def __init__(self, partition: P) -> None:
        self.partition = partition
        self.live = True  # False once the partition was taken away: nothing of it is published or committed any more
        self.outstanding: deque[Entry[P]] = deque()
        self.unstarted: deque[Entry[P]] = deque()  # in offset order; may begin with some that have started since
        self.end: int | None = None  # the offset after the finished prefix
        self.committed: int | None = None

    def take(self, offset: int) -> Entry[P]:
        """A record was fetched. Offsets only grow."""
        entry = Entry(self, offset)
        self.outstanding.append(entry)
        self.unstarted.append(entry)
        return entry

    def tell_next(self) -> None:
        """Tells the first record that has not started that it is the first."""
        while self.unstarted and self.unstarted[0].started:
            self.unstarted.popleft()
        if self.unstarted:
            self.unstarted[0].tell()

    def to_give_back(self) -> list[Entry[P]]:
        """The records at the end, after the last one that has started.

        Only these: were an earlier one given back, the finished ones behind it would be read and judged again.
        """
        given_back: list[Entry[P]] = []
        for entry in reversed(self.outstanding):
            if entry.started or entry.done:
                break
            given_back.append(entry)
        return given_back

    def advance(self) -> None:
        """Moves the end over everything that is finished at the front."""
        while self.outstanding and self.outstanding[0].done:
            self.end = self.outstanding.popleft().offset + 1


class Progress(Generic[P]):
    """The progress of all partitions that this worker owns."""

    def __init__(self) -> None:
        self._owned: dict[P, PartitionProgress[P]] = {}

    @property
    def owned(self) -> tuple[P, ...]:
        """The partitions that are ours now."""
        return tuple(self._owned)

    def assign(self, partitions: Iterable[P]) -> None:
        """The group gave us exactly these partitions, and reading begins at what is committed of them."""
        self.revoke(self.owned)
        self._owned = {partition: PartitionProgress(partition) for partition in partitions}

    def revoke(self, partitions: Iterable[P]) -> None:
        """These are no longer ours: whatever finishes later of them is stale."""
        for partition in partitions:
            if (gone := self._owned.pop(partition, None)) is not None:
                gone.live = False

    def take(self, partition: P, offset: int) -> Entry[P] | None:
        """A record was fetched. None: its partition was taken away meanwhile, and its new owner reads it."""
        progress = self._owned.get(partition)
        return None if progress is None else progress.take(offset)

    def to_give_back(self, partitions: Iterable[P]) -> list[Entry[P]]:
        """What need not be finished of these partitions before they go."""
        known = (self._owned[partition] for partition in partitions if partition in self._owned)
        return [entry for progress in known for entry in progress.to_give_back()]

    def done(self, entry: Entry[P]) -> None:
        """The broker confirmed the record's outcome."""
        entry.done = True
        entry.owner.advance()

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
