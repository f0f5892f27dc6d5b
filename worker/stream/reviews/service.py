"""Reviews: the topic on which people's decisions on verdicts come back, read beside the judging."""

import asyncio
from collections.abc import Callable, Collection

import faust
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from worker.contract.review import UnreadableReview, read_review
from worker.observability import metrics
from worker.settings import Settings
from worker.stream.closing import closed
from worker.stream.kafka.checks import review_faults
from worker.stream.kafka.connection import security_of
from worker.stream.reviews.counts import ReviewCounts

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0  # after a fault
_POLL_MS = 500
_MOST_AT_ONCE = 100  # records, before the judging has its turn
_STOP_SECONDS = 1.0  # to commit and leave the group: the drain of the judging waits for it


class _TopicGone(Exception):
    """The topic has been deleted."""


class Reviews(faust.Service):  # type: ignore[misc]
    """Counts reviews into metrics. Whatever happens, the judging goes on: it tells what is wrong, and tries again.

    Its group is one of its own, whose rebalances are none of the chat events'. A review that comes twice counts twice.
    """

    def __init__(
        self,
        settings: Settings,
        policies: Callable[[], Collection[str]],
        again_seconds: float = _AGAIN_SECONDS,
        **kwargs: object,
    ) -> None:
        """`policies` gives the names of the policies that metrics may tell apart."""
        assert settings.reviews_topic is not None
        super().__init__(**kwargs)
        self._settings, self._topic, self._again_seconds = settings, settings.reviews_topic, again_seconds
        self._counts = ReviewCounts(policies)
        self._task: asyncio.Task[None] | None = None
        self._told: str | None = None  # the fault that was told last

    async def on_start(self) -> None:
        """Returns at once: nobody waits for the topic."""
        self._counts.begin()
        self._task = asyncio.create_task(self._always())

    async def on_stop(self) -> None:
        """Commits what is counted, and leaves the group."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=2 * _STOP_SECONDS)

    async def _always(self) -> None:
        while True:
            metrics.REVIEWS_UNREAD.set(1)
            try:
                await self._read()
            except Exception as error:  # whatever it is, it is no reason to stop judging
                metrics.REVIEWS_UNREAD.set(1)  # at once: the next try may fail as late as this one
                self._tell(f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._again_seconds)

    def _tell(self, fault: str) -> None:
        if fault != self._told:
            self._told = fault
            log.error("reviews are not read now; verdicts go on", fault=fault)

    async def _read(self) -> None:
        if faults := await review_faults(self._settings):
            self._tell(str(faults[0]))
            return
        consumer = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._settings.bootstrap_servers,
            group_id=self._settings.reviews_group,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            metadata_max_age_ms=30_000,
            max_poll_records=_MOST_AT_ONCE,
            **security_of(self._settings),
        )
        try:
            await consumer.start()
            metrics.REVIEWS_UNREAD.set(0)
            self._told = None
            log.info("reviews are read", topic=self._topic, group=self._settings.reviews_group)
            while True:
                await self._take(consumer)
        finally:
            await closed(lambda: asyncio.wait_for(consumer.stop(), _STOP_SECONDS))

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        if not fetched and not consumer.partitions_for_topic(self._topic):
            raise _TopicGone(f"topic {self._topic} is gone")  # aiokafka waits for it in silence
        for record in (each for records in fetched.values() for each in records):
            self._count(record)

    def _count(self, record: ConsumerRecord) -> None:
        try:
            self._counts.count(read_review(record.value))
        except UnreadableReview as cause:
            metrics.REVIEWS_UNREADABLE.inc()
            place = {"partition": record.partition, "offset": record.offset}
            log.warning("a record on the reviews topic is no review", **place, fault=str(cause))
