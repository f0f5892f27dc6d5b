"""Checks -> batches under a token budget: the oldest always goes first, its neighbours in length with it.

The budget is a bound, not an aim: where the next neighbour is much longer or shorter, a smaller batch without it judges
more tokens a second, and whoever is in it waits less.

Pure: it takes the time as an argument and knows neither Kafka, torch nor asyncio.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from worker.batching.token_budget import TokenBudget

# What a batch costs besides its tokens (launches, reading the weights), as a fraction of a full one.
_START_SHARE: Final = 16


class Queued(Protocol):
    """What can be put in a batch."""

    @property
    def tokens(self) -> int: ...

    @property
    def arrived(self) -> float:
        """Seconds, on the clock that `Batcher` is asked with."""


T = TypeVar("T", bound=Queued)


class _Entry(NamedTuple, Generic[T]):
    """Sorts by length, then by age: no two have the same number."""

    tokens: int
    number: int
    item: T


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
        number, tokens = self._next_number, item.tokens
        entry = _Entry(tokens, number, item)
        self._next_number = number + 1
        self._by_age[number] = entry
        insort(self._by_length, entry)
        self._tokens += tokens

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
        budget holds and as are worth their padding."""
        if not self._by_age:
            return ()
        oldest = next(iter(self._by_age.values()))
        low, high = self._chosen(bisect_left(self._by_length, oldest))
        chosen = self._by_length[low:high]
        del self._by_length[low:high]
        for entry in chosen:
            del self._by_age[entry.number]
            self._tokens -= entry.tokens
        return [entry.item for entry in chosen]

    def _chosen(self, at: int) -> tuple[int, int]:
        """The slice of `_by_length` around index `at` to take."""
        queue, start = self._by_length, self._budget.tokens / _START_SHARE

        def share_of_use(growth: tuple[int, int, int]) -> float:
            low, high, useful = growth
            return useful / (self._padded(low, high) + start)

        low, high, _ = max(self._growing(at), key=share_of_use)
        everything = self._padded(0, len(queue))
        # The rest as one batch more, where it is too little to choose from.
        rest = (len(queue) - high + low) * queue[-1 if high < len(queue) else low - 1].tokens
        if self._budget.holds(queue[-1].tokens, len(queue)) and everything <= self._padded(low, high) + rest + start:
            return 0, len(queue)
        return low, high

    def _padded(self, low: int, high: int) -> int:
        return (high - low) * self._by_length[high - 1].tokens

    def _growing(self, at: int) -> Iterator[tuple[int, int, int]]:
        """The slices (low, high) of `_by_length` around index `at`, and their tokens without padding: each one grown
        by the nearer neighbour, while the budget holds it."""
        queue, low, high = self._by_length, at, at + 1
        own = useful = queue[at].tokens
        while True:
            yield low, high, useful
            rows, longest = high - low, queue[high - 1].tokens
            down = own - queue[low - 1].tokens if low > 0 else None
            up = queue[high].tokens - own if high < len(queue) else None
            if up is not None and (down is None or up < down) and self._budget.holds(queue[high].tokens, rows + 1):
                high += 1
                useful += queue[high - 1].tokens
            elif down is not None and self._budget.holds(longest, rows + 1):
                low -= 1
                useful += queue[low].tokens
            elif up is not None and self._budget.holds(queue[high].tokens, rows + 1):
                high += 1
                useful += queue[high - 1].tokens
            else:
                return
