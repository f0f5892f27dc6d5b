"""Commits: each partition's finished prefix, from time to time and whenever partitions go."""

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import TopicPartition

from worker.observability import metrics
from worker.stream.progress import Progress
from worker.stream.source import Source

_AGAIN_SECONDS = 0.2


class Commits:
    """The one who commits. A commit says where each partition's finished prefix ends; where nothing is outstanding,
    the consumer's position: over transaction markers and compaction's holes."""

    def __init__(
        self,
        source: Source,
        progress: Progress[TopicPartition],
        on_committed: Callable[[Mapping[TopicPartition, int]], None],
        failed: Callable[[], bool],
    ) -> None:
        """`failed`: whether something has ended the worker's work. What was fetched then may be known to nobody, so
        positions say nothing any more; finished prefixes do."""
        self._source, self._progress, self._on_committed, self._failed = source, progress, on_committed, failed
        self._committing = asyncio.Lock()
        self._counts = {taken: metrics.COMMITS.labels(result) for taken, result in ((True, "ok"), (False, "refused"))}

    async def often(self, interval: float, gone_seconds: float) -> None:
        """Commits every `interval` seconds. Raises RuntimeError after `gone_seconds` without the input topic."""
        gone = 0.0
        while True:
            await asyncio.sleep(interval)
            await self.now()
            gone = gone + interval if await self._source.topic_gone() else 0.0
            if gone >= gone_seconds:
                raise RuntimeError(f"the input topic {self._source.topic} has been gone for {gone:.0f} s")

    async def last(self) -> None:
        """Commits what is finished, at the end: until it is taken, or no longer ours, or the worker fails."""
        while not (await self.now() or self._source.expelled or self._failed()):  # noqa: ASYNC110  # Kafka is asked
            await asyncio.sleep(_AGAIN_SECONDS)

    async def now(self) -> bool:
        """Commits what is finished, once a commit under way has ended; whether there is nothing left to commit."""
        async with self._committing:
            idle = [each for each in self._progress.owned if self._progress.idle(each)]
            positions = await asyncio.gather(*map(self._source.position, idle))
            for partition, position in zip(idle, positions, strict=True):
                # Still, after the wait.
                if position is not None and self._progress.idle(partition) and not self._failed():
                    self._progress.moved_to(partition, position)
            ends = self._progress.to_commit()
            if not ends:
                return True
            taken = await self._source.commit(ends)
            self._counts[taken].inc()
            if taken:
                metrics.LAST_COMMIT.set_to_current_time()
                self._progress.committed(ends)
                self._on_committed(ends)
            return taken
