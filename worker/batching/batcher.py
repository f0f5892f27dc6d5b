"""Checks -> batches under a token budget: the oldest always goes first, its neighbours in length with it.

The budget is a bound, not an aim: where the next neighbour is much longer or shorter, a smaller batch without it judges
more tokens a second, and whoever is in it waits less.

Pure: it takes the time as an argument and knows neither Kafka, torch nor asyncio.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

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

_Piece = tuple[int, int]  # a length in tokens, and how many of the items of this length, the oldest of them


class Batcher(Generic[T]):
    """Items waiting for one guard. Items arrive in the order of their `arrived` times.

    Those of one length are one queue: a batch takes them together, and a step of its choice is a length, not an item.
    """

    def __init__(self, budget: TokenBudget, max_wait: float) -> None:
        """`max_wait`: seconds that the oldest item waits for company while the guard is idle."""
        self._budget = budget
        self._max_wait = max_wait
        self._queues: dict[int, deque[T]] = {}  # by length; none is empty
        self._lengths: list[int] = []  # those that there are, rising
        self._oldest: T | None = None
        self._count = self._tokens = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: T) -> None:
        """Queues an item."""
        self.add_all((item,))

    def add_all(self, items: Sequence[T]) -> None:
        """Queues items, in the order of their arrival."""
        queues, total = self._queues, 0
        for item in items:
            tokens = item.tokens
            queue = queues.get(tokens)
            if queue is None:
                queue = queues[tokens] = deque()
                insort(self._lengths, tokens)
            queue.append(item)
            total += tokens
        if self._oldest is None and items:
            self._oldest = items[0]
        self._count += len(items)
        self._tokens += total

    @property
    def full(self) -> bool:
        """Whether what is queued fills the budget."""
        return self._tokens >= self._budget.tokens

    def due_at(self) -> float | None:
        """The time at which a batch should leave for an idle guard; None with nothing queued.

        A full batch is due at once; the oldest item's wait ends at `arrived + max_wait`.
        """
        if self._oldest is None:
            return None
        return self._oldest.arrived if self.full else self._oldest.arrived + self._max_wait

    def take(self) -> Sequence[T]:
        """The next batch, in order of length: the oldest item and those nearest to it in length, as many as the
        budget holds and as are worth their padding."""
        if self._oldest is None:
            return ()
        batch: list[T] = []
        for tokens, count in sorted(self._chosen(self._oldest.tokens)):
            queue = self._queues[tokens]
            if count < len(queue):
                batch += [queue.popleft() for _ in range(count)]
            else:
                batch += queue
                del self._queues[tokens]
                del self._lengths[bisect_left(self._lengths, tokens)]
            self._tokens -= count * tokens
        self._count -= len(batch)
        heads = (queue[0] for queue in self._queues.values())
        self._oldest = min(heads, key=lambda head: head.arrived, default=None)
        return batch

    def take_all(self) -> list[T]:
        """Everything that is queued, in order of length."""
        everything = [item for tokens in self._lengths for item in self._queues[tokens]]
        self._queues.clear()
        self._lengths.clear()
        self._oldest = None
        self._count = self._tokens = 0
        return everything

    def _chosen(self, tokens: int) -> Sequence[_Piece]:
        """What goes with the oldest item, which has this length."""
        start = self._budget.tokens / _START_SHARE
        pieces = list(self._nearest(tokens))
        best = -1.0
        useful = rows = longest = chosen = padded = 0
        for number, (length, count) in enumerate(pieces, 1):
            useful, rows, longest = useful + length * count, rows + count, max(longest, length)
            # Within a length it only rises or only falls with each item, so whole pieces are enough to look at.
            share_of_use = useful / (longest * rows + start)
            if share_of_use > best:
                best, chosen, padded = share_of_use, number, longest * rows
        del pieces[chosen:]
        if self._budget.holds(self._lengths[-1], self._count):
            everything = [(length, len(self._queues[length])) for length in self._lengths]
            # The rest as one batch more, where it is too little to choose from.
            if self._lengths[-1] * self._count <= padded + self._padded_rest(pieces) + start:
                return everything
        return pieces

    def _padded_rest(self, pieces: Sequence[_Piece]) -> int:
        taken = dict(pieces)
        left = {length: len(queue) - taken.get(length, 0) for length, queue in self._queues.items()}
        return max((length for length, count in left.items() if count), default=0) * sum(left.values())

    def _nearest(self, tokens: int) -> Iterator[_Piece]:
        """The items of this length, then those of the nearer neighbouring length, and so on, while the budget holds
        them; of two lengths as near the shorter."""
        lengths, budget = self._lengths, self._budget.tokens
        below = above = bisect_left(lengths, tokens)
        longest, rows = tokens, 0
        while True:
            down = tokens - lengths[below - 1] if below > 0 else None
            up = lengths[above] - tokens if above < len(lengths) else None
            if up is not None and (down is None or up < down):
                length = lengths[above]
                if rows and length * (rows + 1) > budget:
                    above = len(lengths)  # nothing longer; a shorter one may have room yet
                    continue
                above += 1
                longest = length
            elif down is not None:
                below -= 1
                length = lengths[below]
            else:
                return
            waiting = len(self._queues[length])
            count = min(waiting, max(budget // max(longest, 1) - rows, 0 if rows else 1))
            if count:
                yield length, count
            if count < waiting:  # the batch is full
                return
            rows += count
