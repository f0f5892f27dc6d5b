"""Outbox: the records for one output partition. They leave in order, in batches, and a batch is confirmed whole."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from worker.contract.record import Headers
from worker.stream.work import Work

# Told once of each work: with None when the broker has its outcome, or with what kept it from having it.
Settled = Callable[[Sequence[Work], BaseException | None], object]


class Batch(Protocol):
    """A batch of records in the making: aiokafka's BatchBuilder."""

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers) -> object:
        """None where it is full; the first record always fits."""

    def close(self) -> None: ...


class Carrier(Protocol):
    """Who makes batches and takes them to the broker."""

    def create_batch(self) -> Batch: ...

    def leave_soon(self, outbox: "Outbox") -> None:
        """Is asked to call the outbox's `send_off`, a little later so that more can come."""

    def carry(self, batch: Batch, topic: str, partition: int) -> Awaitable[None]:
        """Returns when the broker has the batch; raises what keeps it from having it."""


class Outbox:
    """Belongs to one event loop.

    One batch is on its way at a time, and what comes meanwhile leaves with the next: so the order is kept, and batches
    are the larger the busier the worker is. A batch costs one task and one future however many records it has, where
    aiokafka's `send` costs about as much for each of them.
    """

    def __init__(self, carrier: Carrier, topic: str, partition: int, settled: Settled) -> None:
        self._carrier, self._topic, self._partition, self._settled = carrier, topic, partition, settled
        self._waiting: deque[tuple[Batch, list[Work]]] = deque()  # in the order in which they leave; the last one grows
        self._on_its_way: asyncio.Future[None] | None = None
        self._failed: BaseException | None = None

    def put(self, key: bytes | None, value: bytes | None, headers: Headers, work: Work) -> None:
        """Hands a work's record over. After a failure nothing leaves any more: it would overtake what failed."""
        if self._failed is not None:
            self._settled((work,), self._failed)
            return
        waiting = self._waiting
        # At once into the batch: its bytes are let go of while the processor still has them at hand.
        if waiting and waiting[-1][0].append(timestamp=None, key=key, value=value, headers=headers) is not None:
            waiting[-1][1].append(work)
            return
        batch = self._carrier.create_batch()
        batch.append(timestamp=None, key=key, value=value, headers=headers)
        waiting.append((batch, [work]))
        if len(waiting) == 1 and self._on_its_way is None:
            self._carrier.leave_soon(self)

    def send_off(self) -> None:
        """Sends the first batch that waits."""
        batch, works = self._waiting.popleft()
        batch.close()
        self._on_its_way = asyncio.ensure_future(self._carrier.carry(batch, self._topic, self._partition))
        self._on_its_way.add_done_callback(partial(self._arrived, works))

    def _arrived(self, works: list[Work], carried: "asyncio.Future[None]") -> None:
        self._on_its_way = None
        self._failed = asyncio.CancelledError() if carried.cancelled() else carried.exception()
        if self._failed is not None:
            works += [work for _, waiting in self._waiting for work in waiting]
            self._waiting.clear()
        elif self._waiting:
            self._carrier.leave_soon(self)
        self._settled(works, self._failed)
