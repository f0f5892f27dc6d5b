"""Where a replay stands: the committed offsets of a consumer group, each with the filters that it was reached with."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker.settings import Settings
from worker.stream.dead_letters.selection import Selection
from worker.stream.kafka.cluster import connected, group_members
from worker.stream.kafka.connection import security_of

_JOIN_SECONDS = 90.0
_COMMIT_SECONDS = 10.0
_LONGEST_MARK = 1000  # characters; Kafka takes 4096 bytes


class ReplayRefused(Exception):
    """This replay could lose or repeat records; the message says why and what to do."""


class ReplayPosition:
    """The position of one group in the dead-letter topic."""

    def __init__(self, settings: Settings, group: str, selection: Selection) -> None:
        self._settings, self._group = settings, group
        words = str(selection)
        self._mark = words if len(words) <= _LONGEST_MARK else hashlib.sha256(words.encode()).hexdigest()

    async def check_selection(self) -> None:
        """Raises ReplayRefused where the position was reached with other filters: what these passed over lies behind
        it, and this replay would silently leave it out."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers, **security_of(self._settings))
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self._group)
        finally:
            await admin.close()
        topic = self._settings.dead_letter_topic
        others = {each.metadata for place, each in found.items() if place.topic == topic} - {"", self._mark}
        if others:
            raise ReplayRefused(
                f"the position of group {self._group} was reached with other filters ({min(others)}), and what they "
                "passed over lies behind it: name another --group for these filters, or start --from-beginning"
            )

    async def check_that_nobody_replays(self) -> None:
        """Raises ReplayRefused where the group has members."""
        async with connected(self._settings.bootstrap_servers, security_of(self._settings)) as client:
            members = await group_members(client, self._group)
        if members:
            raise ReplayRefused(
                f"group {self._group} is in use by another replay (or by one that was killed within the last seconds): "
                "let it end, or name another --group"
            )

    async def commit(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        """Raises KafkaError and TimeoutError."""
        async with asyncio.timeout(_COMMIT_SECONDS):
            await consumer.commit({partition: (end, self._mark) for partition, end in ends.items()})


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """The group must be this replay's alone: two that share it would send records twice when they take turns."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._assigned: set[TopicPartition] = set()
        self._joined = asyncio.Event()
        self._lost = False
        self.busy = asyncio.Lock()
        """Held while records are on their way: the group waits for them before it gives the partitions on."""

    async def joined(self, partitions: Iterable[TopicPartition]) -> None:
        """Returns once all partitions are ours. Raises ReplayRefused where they are not, and TimeoutError."""
        async with asyncio.timeout(_JOIN_SECONDS):
            await self._joined.wait()
        self._lost = self._lost or self._assigned != set(partitions)
        self.check()

    def check(self) -> None:
        """Raises ReplayRefused where they no longer are."""
        if self._lost:
            raise ReplayRefused(f"another member joined group {self._group}: this replay ends here, run it again")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called before the group gives the partitions to another member."""
        async with self.busy:
            self._lost = self._lost or self._joined.is_set()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called when the group has decided."""
        self._assigned = set(assigned)
        self._joined.set()
