"""Checks -> batches under a token budget: the oldest always goes first, its neighbours in length with it.

Pure: it takes the time as an argument and knows neither Kafka, torch nor asyncio.
"""

from bisect import insort
from collections.abc import Sequence
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from worker.batching.token_budget import TokenBudget


class Queued(Protocol):
    """What can be put in a batch."""

    @property
    def tokens(self) -> int: ...

    @property
    def arrived(self) -> float:
        """Seconds, on the clock that `Batcher` is asked with."""


T = TypeVar("T", bound=Queued)


class _Entry(Generic[T]):
    __slots__ = ("item", "number", "tokens")

    def __init__(self, item: T, number: int) -> None:
        self.item, self.number, self.tokens = item, number, item.tokens


class Batcher(Generic[T]):
    """Items waiting for one guard. Items arrive in the order of their `arrived` times."""

    def __init__(self, budget: TokenBudget, max_wait: float) -> None:
        """`max_wait`: seconds that the oldest item waits for company while the guard is idle."""
        self._budget = budget
        self._max_wait = max_wait
        self._by_age: dict[int, _Entry[T]] = {}  # insertion order is age; the key is the number
        self._by_length: list[_Entry[T]] = []
        self._tokens = 0
        self._next_number = 0

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, item: T) -> None:
        """Queues an item."""
        entry = _Entry(item, self._next_number)
        self._next_number += 1
        self._by_age[entry.number] = entry
        insort(self._by_length, entry, key=attrgetter("tokens"))
        self._tokens += entry.tokens

    @property
    def full(self) -> bool:
        """Whether what is queued fills the budget."""
        return self._tokens >= self._budget.tokens

    def due_at(self) -> float | None:
        """The time at which a batch should leave for an idle guard; None with nothing queued.

        A full batch is due at once; the oldest item's wait ends at `arrived + max_wait`.
        """
        if not self._by_age:
            return None
        oldest = next(iter(self._by_age.values()))
        return oldest.item.arrived if self.full else oldest.item.arrived + self._max_wait

    def take(self) -> Sequence[T]:
        """The next batch, in order of length: the oldest item and those nearest to it in length, as many as the
        budget holds."""
        if not self._by_age:
            return ()
        oldest = next(iter(self._by_age.values()))
        low, high = self._around(self._by_length.index(oldest))
        chosen = self._by_length[low:high]
        del self._by_length[low:high]
        for entry in chosen:
            del self._by_age[entry.number]
            self._tokens -= entry.tokens
        return [entry.item for entry in chosen]

    def _around(self, at: int) -> tuple[int, int]:
        """The slice of `_by_length` around index `at` that grows towards the nearer neighbour while the budget holds
        it."""
        queue, low, high = self._by_length, at, at + 1
        own = queue[at].tokens
        while True:
            rows, longest = high - low, queue[high - 1].tokens
            down = own - queue[low - 1].tokens if low > 0 else None
            up = queue[high].tokens - own if high < len(queue) else None
            if up is not None and (down is None or up < down) and self._budget.holds(queue[high].tokens, rows + 1):
                high += 1
            elif down is not None and self._budget.holds(longest, rows + 1):
                low -= 1
            elif up is not None and self._budget.holds(queue[high].tokens, rows + 1):
                high += 1
            else:
                return low, high
