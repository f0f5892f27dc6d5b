"""aiokafka in: the chat events' consumer, by its public methods only."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import ConsumerRecord

from worker.settings import Settings
from worker.stream.connection import security_of

log = structlog.get_logger(__name__)

# A partition that does not exist: polling it hands out nothing, counts as a poll and raises what aiokafka parked.
_NOWHERE = TopicPartition("__nowhere__", 0)
_POLL_MS = 200
_POSITION_SECONDS = 0.2
COMMIT_SECONDS = 5.0  # for the coordinator to answer

OnAssigned = Callable[[Iterable[TopicPartition]], None]
OnRevoked = Callable[[Iterable[TopicPartition]], Awaitable[None]]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._on_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._on_assigned(assigned)


class Source:
    """The input topic's records for this worker's share of the partitions."""

    def __init__(self, settings: Settings) -> None:
        self.topic = settings.input_topic
        heartbeat = min(3.0, settings.session_timeout_seconds / 5)
        # How long the group waits for us to give partitions back: to hear of it, to drain, to commit. aiokafka's
        # default is the session time-out, which is another thing.
        rebalance = heartbeat + settings.revoke_drain_seconds + COMMIT_SECONDS + 5
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(heartbeat * 1000),
            rebalance_timeout_ms=int(rebalance * 1000),
            request_timeout_ms=max(40_000, int((rebalance + 10) * 1000)),  # joining waits for the slowest member
            max_poll_interval_ms=300_000,
            fetch_max_bytes=8 << 20,
            max_partition_fetch_bytes=1 << 20,
            metadata_max_age_ms=30_000,  # new partitions are read within this time
            **security_of(settings),
        )

    async def start(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Connects and joins the group. `on_revoked` must raise nothing: aiokafka would only log it."""
        await self._consumer.start()
        self._consumer.subscribe([self.topic], listener=_Listener(on_assigned, on_revoked))

    async def fetch(self, most: int) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        """Up to `most` records, in offset order a partition; none after 0.2 s without any.

        Await it bare, never in a task or with a time-out: the position moves and the records are handed over in one
        step of the event loop, and only so does a commit of the position never skip a record.
        """
        records: Mapping[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
            timeout_ms=_POLL_MS, max_records=most
        )
        return records

    async def stay(self) -> None:
        """A poll that takes nothing, for while there is no room: the group keeps us, and parked errors are raised."""
        await self._consumer.getmany(_NOWHERE, timeout_ms=0)

    async def position(self, partition: TopicPartition) -> int | None:
        """The offset of the next record to be fetched; None while it is not known."""
        try:
            async with asyncio.timeout(_POSITION_SECONDS):
                position: int = await self._consumer.position(partition)
                return position
        except (IllegalStateError, TimeoutError):  # taken away meanwhile, or no answer yet
            return None

    async def commit(self, ends: dict[TopicPartition, int]) -> bool:
        """Commits offsets; False where they were not taken: the group no longer counts us in and the records come again
        to their new owner, or the coordinator does not answer and a later commit says the same or more.

        aiokafka itself would try for ever, and a commit that outlives a rebalance could move an offset back.
        """
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(ends)
        except TimeoutError:
            log.warning("no answer to a commit; it is tried again", seconds=COMMIT_SECONDS)
            return False
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit refused; the records come again", cause=str(error))
            return False
        return True

    def topic_exists(self) -> bool:
        """Whether the cluster's metadata knows the input topic."""
        return bool(self._consumer.partitions_for_topic(self.topic))

    async def stop(self) -> None:
        """Leaves the group."""
        await self._consumer.stop()
