"""aiokafka in: the chat events' consumer, by its public methods only."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    UnknownMemberIdError,
)
from aiokafka.structs import ConsumerRecord

from worker.settings import Settings
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.static_member import PlaceTaken, StaticMember
from worker.stream.kafka.unreadable import Impasse, impasse_at

log = structlog.get_logger(__name__)

# A partition that does not exist: polling it hands out nothing, counts as a poll and raises what aiokafka parked.
_NOWHERE = TopicPartition("__nowhere__", 0)
_POLL_MS = 200
_POSITION_SECONDS = 0.2
_MAX_POLL_SECONDS = 300.0  # between two polls, or the group gives our partitions away
_ENDS_SECONDS, _END_SECONDS = 5.0, 2.0  # for the ends of all partitions, and of one
_TOPICS_SECONDS = 5.0  # for the names of all topics
COMMIT_SECONDS = 5.0  # for the coordinator to answer
_SEARCH_SECONDS = 120.0  # then at full speed again: what has become unreadable to nobody need not be found
_IDLE_SECONDS = 0.02

Found = Mapping[TopicPartition, list[ConsumerRecord]]
OnAssigned = Callable[[Iterable[TopicPartition]], None]
OnRevoked = Callable[[Iterable[TopicPartition]], Awaitable[None]]
OnFailure = Callable[[BaseException], Awaitable[None]]


def lost_after(settings: Settings) -> float:
    """Seconds after which the group gives the partitions of a worker away whose event loop, or intake, hangs."""
    return min(settings.session_timeout_seconds, _MAX_POLL_SECONDS)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(
        self, on_assigned: OnAssigned, on_revoked: OnRevoked, on_failure: OnFailure, place: StaticMember | None
    ) -> None:
        self._on_assigned, self._on_revoked, self._on_failure = on_assigned, on_revoked, on_failure
        self._place = place

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            if self._place is not None:
                await self._place.check()
        except (PlaceTaken, KafkaError) as error:
            await self._on_failure(error)
            raise asyncio.CancelledError from None  # aiokafka would log anything else, and take the place back
        await self._on_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._on_assigned(assigned)  # before any await: a record fetched meanwhile would count as another worker's
        try:
            if self._place is not None:
                await self._place.joined()
        except KafkaError as error:
            await self._on_failure(error)


class Source:
    """The input topic's records for this worker's share of the partitions."""

    def __init__(self, settings: Settings) -> None:
        self.topic = settings.input_topic
        self._settings = settings
        self._next: dict[TopicPartition, int] = {}  # the offset after the last record handed over
        self._rebalances = 0  # revocations and assignments so far: who waits meanwhile must not move a position
        self._search_until: float | None = None  # while an unreadable record is looked for
        self._expelled = False
        heartbeat = min(3.0, settings.session_timeout_seconds / 5)
        # How long the group waits for us to give partitions back: to hear of it, to drain, to commit. aiokafka's
        # default is the session time-out, which is another thing.
        rebalance = heartbeat + settings.revoke_drain_seconds + COMMIT_SECONDS + 5
        instance = settings.group_instance_id
        self._place = StaticMember(settings, instance) if instance else None
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(heartbeat * 1000),
            rebalance_timeout_ms=int(rebalance * 1000),
            request_timeout_ms=max(40_000, int((rebalance + 10) * 1000)),  # joining waits for the slowest member
            max_poll_interval_ms=int(_MAX_POLL_SECONDS * 1000),
            fetch_max_bytes=8 << 20,
            max_partition_fetch_bytes=1 << 20,
            metadata_max_age_ms=30_000,  # new partitions are read within this time
            **security_of(settings),
        )

    async def connect(self) -> None:
        """Raises KafkaConnectionError where no broker answers; it may be tried again then."""
        await self._consumer.start()

    def join(self, on_assigned: OnAssigned, on_revoked: OnRevoked, on_failure: OnFailure) -> None:
        """Joins the group, once connected. `on_revoked` must raise nothing: aiokafka would only log it. `on_failure` is
        told what ends the worker."""

        async def revoked(partitions: Iterable[TopicPartition]) -> None:
            # Already now: aiokafka has the next assignment in place some steps before it tells of it.
            self._rebalances += 1
            await on_revoked(partitions)

        def assigned(partitions: Iterable[TopicPartition]) -> None:
            self._next.clear()
            self._rebalances += 1
            self._search_until = None
            self._expelled = False
            on_assigned(partitions)

        self._consumer.subscribe([self.topic], listener=_Listener(assigned, revoked, on_failure, self._place))

    async def fetch(self, most: int) -> Found:
        """Up to `most` records, in offset order a partition; none after 0.2 s without any.

        Await it bare, never in a task or with a time-out: the position moves and the records are handed over in one
        step of the event loop, and only so does a commit of the position never skip a record.
        """
        if self._search_until is not None:
            return await self._search()
        try:
            records: Found = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
        except UnicodeDecodeError:
            # The consumer threw away what it had at hand, and its positions moved over some of it: no commit of a
            # position until they are set back.
            self._search_until = time.monotonic() + _SEARCH_SECONDS
            log.warning("a record that cannot be read is on its way; the records before it are taken one by one")
            await self._set_back()
            return {}
        except Exception:
            self._search_until = math.inf  # it ends the worker; a position may have moved over what is thrown away here
            raise
        for partition, found in records.items():
            self._next[partition] = found[-1].offset + 1
        return records

    async def _set_back(self) -> None:
        """Reads on after what was handed over, of each partition."""
        before = self._rebalances
        for partition in self._consumer.assignment():
            offset = self._next.get(partition)
            if offset is None:  # nothing yet: where reading began
                offset = await self._consumer.committed(partition)
            if offset is None:
                offset = (await self._consumer.beginning_offsets([partition]))[partition]
            if self._rebalances != before:
                return  # the group has set the positions anew
            self._consumer.seek(partition, offset)

    async def _search(self) -> Found:
        """A record of each partition, until one of them turns out to be the unreadable one. That ends the search, and
        so does a rebalance: where the record is still there, a fetch fails again."""
        before = self._rebalances
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        past: dict[TopicPartition, int] = {}
        for partition in sorted(self._consumer.assignment()):
            try:
                found |= await self._consumer.getmany(partition, timeout_ms=0, max_records=1)
            except UnicodeDecodeError as error:
                impasse = await self._impasse(partition, error)
                found[partition], past[partition] = list(impasse.records), impasse.end
            if self._rebalances != before:
                return {}  # all of it comes again to its owner
        await asyncio.sleep(0 if found else _IDLE_SECONDS)
        return {} if self._rebalances != before else self._handed_over(found, past)

    async def _impasse(self, partition: TopicPartition, error: UnicodeDecodeError) -> Impasse:
        impasse = await impasse_at(self._settings, partition, await self._consumer.position(partition))
        if impasse is None:
            raise error
        unreadable = [record.offset for record in impasse.records if not record.readable]
        log.warning("records cannot be read", topic=self.topic, partition=partition.partition, offsets=unreadable[:10])
        return impasse

    def _handed_over(self, found: Found, past: dict[TopicPartition, int]) -> Found:
        self._next |= {partition: records[-1].offset + 1 for partition, records in found.items() if records} | past
        for partition, end in past.items():
            self._consumer.seek(partition, end)
        if past or time.monotonic() > (self._search_until or 0):
            self._search_until = None
        return found

    async def stay(self) -> None:
        """A poll that takes nothing, for while there is no room: the group keeps us, and parked errors are raised."""
        await self._consumer.getmany(_NOWHERE, timeout_ms=0)

    async def position(self, partition: TopicPartition) -> int | None:
        """The offset of the next record to be fetched; None while it is not known."""
        if self._search_until is not None:  # it is ahead of what was handed over
            return None
        try:
            async with asyncio.timeout(_POSITION_SECONDS):
                position: int = await self._consumer.position(partition)
                return position
        except (IllegalStateError, TimeoutError):  # taken away meanwhile, or no answer yet
            return None

    @property
    def expelled(self) -> bool:
        """Whether the group has told, at a commit, that it no longer counts us in; until it assigns anew."""
        return self._expelled

    async def commit(self, ends: dict[TopicPartition, int]) -> bool:
        """Commits offsets; False where they were not taken: the group no longer counts us in and the records come again
        to their new owner, or the coordinator does not answer and a later commit says the same or more.

        aiokafka itself would try for ever, and a commit that outlives a rebalance could move an offset back. So could
        one more by an expelled member: it goes out without a name, which a group without members takes from anybody.
        """
        if self._expelled:
            return False
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(ends)
        except TimeoutError:
            log.warning("no answer to a commit; it is tried again", seconds=COMMIT_SECONDS)
            return False
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit refused; the records come again", cause=str(error))
            self._expelled = isinstance(error.__cause__, UnknownMemberIdError | IllegalGenerationError)
            return False
        return True

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where these partitions, at least one, end now. Where the brokers do not tell all of them in time (one may
        have no leader), that of one, by chance, or none."""
        wanted = list(partitions)
        return await self._ends_of(wanted, _ENDS_SECONDS) or await self._ends_of([random.choice(wanted)], _END_SECONDS)

    async def _ends_of(self, partitions: list[TopicPartition], seconds: float) -> dict[TopicPartition, int]:
        try:
            async with asyncio.timeout(seconds):
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
                return ends
        except (KafkaError, TimeoutError):
            return {}

    async def topic_gone(self) -> bool:
        """Whether the cluster says that there is no input topic. While no broker answers nobody knows: a client that
        was just connected when they went has not heard of the topic yet."""
        if self._consumer.partitions_for_topic(self.topic):
            return False
        try:
            async with asyncio.timeout(_TOPICS_SECONDS):
                return self.topic not in await self._consumer.topics()
        except (KafkaError, TimeoutError):
            return False

    async def stop(self) -> None:
        """Leaves the group, also where it is just being joined."""
        await self._consumer.stop()
