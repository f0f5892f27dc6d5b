"""One record on its way, and everything that is kept about it meanwhile; and all of them."""

import asyncio
import time
from collections.abc import Collection, Coroutine, Iterator

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from worker.stream.in_flight import InFlight
from worker.stream.key_order import Turn
from worker.stream.progress import Entry
from worker.stream.publisher import Outcome
from worker.stream.suspects import Case


class Work:
    """A record and its places: in its partition's progress, among its key's events, in the journal. Times are
    time.monotonic's."""

    __slots__ = ("arrived", "case", "decided", "entry", "handed_over", "record", "size", "traced", "turn")

    def __init__(
        self, record: ConsumerRecord, entry: Entry[TopicPartition], turn: Turn, case: Case, arrived: float
    ) -> None:
        self.record, self.entry, self.turn, self.case, self.arrived = record, entry, turn, case, arrived
        self.size = InFlight.size_of(record)
        self.decided = arrived
        self.handed_over = False  # to the producer: it cannot be given back any more
        self.traced: asyncio.Future[Outcome] | None = None  # who waits for the outcome, where it is traced

    async def earlier_ones_started(self) -> None:
        """Returns when every earlier record of its partition has started."""
        reached = asyncio.Event()
        self.entry.when_all_before_started(reached.set)
        await reached.wait()


class Works:
    """All works that are not finished. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[Work, asyncio.Task[None]] = {}  # in the order of their arrival
        self._one_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Work]:
        return iter(list(self._tasks))

    def begin(self, work: Work, handling: Coroutine[None, None, None]) -> None:
        """Runs what handles it, in a task of its own."""
        self._tasks[work] = asyncio.create_task(handling)

    def cancel(self, work: Work) -> None:
        """Stops what handles it."""
        self._tasks[work].cancel()

    def end(self, work: Work) -> bool:
        """It is finished; False where it was already."""
        if self._tasks.pop(work, None) is None:
            return False
        self._one_ended.set()
        return True

    async def until_one_ends(self, most: float) -> None:
        """Returns when one of them is finished, or after `most` seconds."""
        self._one_ended.clear()
        try:
            async with asyncio.timeout(most):
                await self._one_ended.wait()
        except TimeoutError:
            pass

    def unfinished(self, works: Collection[Work]) -> list[Work]:
        """Those of them that are not finished."""
        return [work for work in works if work in self._tasks]

    def oldest(self) -> float:
        """Seconds since the oldest one arrived; 0 without any. On any thread."""
        arrivals = [work.arrived for work in self]
        return time.monotonic() - min(arrivals) if arrivals else 0.0
