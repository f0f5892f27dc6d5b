"""What is fetched and not finished, bounded by count and by bytes."""

import asyncio
from collections.abc import Sequence

from worker.observability import metrics

# Records asked for at a time: after many small ones the next may all be large, and a compressed fetch may unfold
# into any number of them. Then so many are in flight beyond the limit, and no more.
_MOST_AT_ONCE = 128


class InFlight:
    """Room for events. Belongs to one event loop."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.max_events, self.max_bytes = max_events, max_bytes
        self.events = self.bytes = 0
        self._mean = float(max_bytes) / 16  # bytes a record: the first poll asks for few
        self._room = asyncio.Event()
        self._room.set()
        metrics.IN_FLIGHT_EVENTS.follow(lambda: self.events)
        metrics.IN_FLIGHT_BYTES.follow(lambda: self.bytes)

    @property
    def room(self) -> int:
        """Records that may be fetched now, guessed from the sizes of the last ones; 0: full."""
        events, size = self.max_events - self.events, self.max_bytes - self.bytes
        return max(1, min(_MOST_AT_ONCE, events, int(size / self._mean))) if events > 0 and size > 0 else 0

    async def wait_for_room(self, most: float) -> None:
        """Returns when there is room, or after `most` seconds."""
        try:
            async with asyncio.timeout(most):
                await self._room.wait()
        except TimeoutError:
            pass

    def took(self, sizes: Sequence[int]) -> None:
        """Records were fetched."""
        if sizes:
            self._mean = max(sum(sizes) / len(sizes), self._mean / 2)  # rises at once, falls slowly
        self._count(len(sizes), sum(sizes))

    def finished(self, sizes: Sequence[int]) -> None:
        """Records are finished, or given back."""
        self._count(-len(sizes), -sum(sizes))

    def _count(self, events: int, size: int) -> None:
        self.events += events
        self.bytes += size
        if self.events < self.max_events and self.bytes < self.max_bytes:
            self._room.set()
        else:
            self._room.clear()
