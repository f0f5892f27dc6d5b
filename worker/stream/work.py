"""One record on its way, and everything that is kept about it meanwhile; and all of them."""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from worker.contract.dead_letter import DeadLetter
from worker.contract.record import Record
from worker.contract.verdict import Verdict
from worker.moderation.request import Request, Then

Outcome = Verdict | DeadLetter

_OVERHEAD = 1500  # bytes of Python objects for each event, beside its record


class Owner(Protocol):
    """A partition during one assignment: PartitionProgress."""

    partition: Any
    live: bool

    def starting(self) -> list["Work"]: ...
    def advance(self) -> None: ...


class Work(Request):
    """A record, the request for its verdict, and its places: in its partition's progress, among its key's events, in
    the journal. Times are time.monotonic's."""

    __slots__ = (
        "before",
        "behind",
        "case",
        "decided",
        "done",
        "handed_over",
        "left_its_key",
        "offset",
        "outcome",
        "owner",
        "size",
        "slot",
        "waits_for_key",
        "waits_for_start",
    )

    slot: int  # in the journal, while nobody is suspected

    def __init__(self, record: Record, arrived: float, then: Then, owner: Owner) -> None:
        super().__init__(record, arrived, then)
        self.owner, self.offset = owner, record.offset
        self.size = size_of(record)  # bytes that it counts as
        self.outcome: Outcome | None = None
        self.decided = arrived
        # Its partition's progress.
        self.waits_for_start = False  # it has an outcome that cost nothing, and earlier ones have not started
        self.done = False  # the broker has its outcome
        # Its key's order.
        self.before: Work | None = None  # the one that must leave first
        self.behind: Work | None = None
        self.waits_for_key = False
        self.left_its_key = False
        self.case: Any = None  # the isolation's, only where there are suspects
        self.handed_over = False  # to the producer: it cannot be given back any more

    def finished(self) -> None:
        """Lets go of what may be large. Its place in its partition stays, which may wait for others."""
        self.record = self.verdict = self.outcome = None  # type: ignore[assignment]  # nobody asks for them any more


def size_of(record: Record) -> int:
    """Bytes that a record counts as while it is in flight."""
    size = _OVERHEAD + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum([len(name) + len(value or b"") for name, value in record.headers])
    return size


class Works:
    """All works that are not finished. Belongs to one event loop."""

    def __init__(self) -> None:
        self._works: dict[Work, None] = {}  # in the order of their arrival
        self._some_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._works)

    def __iter__(self) -> Iterator[Work]:
        return iter(list(self._works))

    def begin(self, works: Iterable[Work]) -> None:
        """They came."""
        self._works.update(dict.fromkeys(works))

    def end(self, works: Iterable[Work]) -> Sequence[Work]:
        """They are finished. Those that were not already."""
        unfinished = self._works
        ended = [work for work in works if work in unfinished]
        for work in ended:
            del unfinished[work]
        self._some_ended.set()
        return ended

    async def until_some_end(self, most: float) -> None:
        """Returns when one of them is finished, or after `most` seconds."""
        self._some_ended.clear()
        try:
            async with asyncio.timeout(most):
                await self._some_ended.wait()
        except TimeoutError:
            pass

    def unfinished(self, works: Collection[Work]) -> list[Work]:
        """Those of them that are not finished."""
        return [work for work in works if work in self._works]

    def oldest(self) -> float:
        """Seconds since the oldest one arrived; 0 without any. On any thread."""
        arrivals = [work.arrived for work in self]
        return time.monotonic() - min(arrivals) if arrivals else 0.0
