"""Consumer lag: how much of each partition that we own is still to be answered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiokafka import TopicPartition

from worker.observability import metrics
from worker.stream.progress import Progress

_SECONDS = 5.0  # between two questions to the brokers, one request a broker
_AT_FIRST_SECONDS = 0.5  # until there is something to tell

Ends = Callable[[Iterable[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class Lag:
    """From each partition's finished prefix to its end.

    The end is asked for, because the consumer only knows it as of its last fetch: a worker that is full, or hangs,
    fetches nothing, and just then the lag matters.
    """

    def __init__(
        self, ends: Ends, progress: Progress[TopicPartition], on_answer: Callable[[], None] = lambda: None
    ) -> None:
        """`ends` gives the end of each partition, or nothing where it cannot be known now. `on_answer` is called when
        the brokers answered."""
        self._ends, self._progress, self._on_answer = ends, progress, on_answer
        self._shown: set[TopicPartition] = set()

    async def often(self) -> None:
        """Tells the lag every few seconds."""
        while True:
            await self.now()
            await asyncio.sleep(_SECONDS if self._shown else _AT_FIRST_SECONDS)

    async def now(self) -> None:
        """Tells the lag."""
        if not (owned := self._progress.owned):
            return
        ends = await self._ends(owned)
        if ends:
            self._on_answer()
        for partition, end in ends.items():
            finished = self._progress.finished_to(partition)
            if finished is not None:
                self._shown.add(partition)
                metrics.CONSUMER_LAG.labels(str(partition.partition)).set(max(0, end - finished))

    def keep(self, owned: Iterable[TopicPartition]) -> None:
        """Forgets all other partitions: another worker tells of them."""
        for partition in self._shown - set(owned):
            metrics.CONSUMER_LAG.remove(str(partition.partition))
            self._shown.discard(partition)
