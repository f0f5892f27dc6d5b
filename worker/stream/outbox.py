"""Outbox: the records for one output partition. They leave in order, in batches, and a batch is confirmed whole."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, Protocol

from worker.contract.record import Headers

# Called once: with None when the broker has the record, or with what kept it from having it.
Settled = Callable[[BaseException | None], None]


class Parcel(NamedTuple):
    """A record to publish."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    settled: Settled


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

    def __init__(self, carrier: Carrier, topic: str, partition: int) -> None:
        self._carrier, self._topic, self._partition = carrier, topic, partition
        self._waiting: deque[Parcel] = deque()
        self._on_its_way: asyncio.Future[None] | None = None
        self._failed: BaseException | None = None

    def put(self, parcel: Parcel) -> None:
        """Hands a record over. After a failure nothing leaves any more: it would overtake what failed."""
        if self._failed is not None:
            parcel.settled(self._failed)
            return
        self._waiting.append(parcel)
        if len(self._waiting) == 1 and self._on_its_way is None:
            self._carrier.leave_soon(self)

    def send_off(self) -> None:
        """Sends what waits, as much as one batch holds."""
        batch, parcels = self._carrier.create_batch(), []
        while self._waiting and _append(batch, self._waiting[0]):
            parcels.append(self._waiting.popleft())
        batch.close()
        self._on_its_way = asyncio.ensure_future(self._carrier.carry(batch, self._topic, self._partition))
        self._on_its_way.add_done_callback(partial(self._arrived, parcels))

    def _arrived(self, parcels: list[Parcel], carried: "asyncio.Future[None]") -> None:
        self._on_its_way = None
        self._failed = asyncio.CancelledError() if carried.cancelled() else carried.exception()
        for parcel in parcels:
            parcel.settled(self._failed)
        if self._failed is not None:
            while self._waiting:
                self._waiting.popleft().settled(self._failed)
        elif self._waiting:
            self._carrier.leave_soon(self)


def _append(batch: Batch, parcel: Parcel) -> bool:
    return batch.append(timestamp=None, key=parcel.key, value=parcel.value, headers=list(parcel.headers)) is not None
