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
        # How long the group waits for us to give partitions back; aiokafka's default is the session timeout.
        rebalance_seconds = settings.revoke_drain_seconds + 10
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(settings.session_timeout_seconds * 200),
            rebalance_timeout_ms=int(rebalance_seconds * 1000),
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
        """Commits offsets; False where the group no longer counts us in: the records come again to their new owner."""
        try:
            await self._consumer.commit(ends)
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
