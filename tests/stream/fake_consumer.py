"""A fake in the place of aiokafka's consumer."""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

BAD = "bad"
Answer = BaseException | None


class FakeConsumer:
    """Records lie in `log`; BAD is one that cannot be read, at which a fetch loses what it had at hand."""

    def __init__(self, **_settings: object) -> None:
        self.log: dict[TopicPartition, list[Any]] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.committed_offsets: dict[TopicPartition, int] = {}
        self.commit_answer: Answer = None
        self.listener: Any = None
        self.known: set[str] = set()  # topics that the client has heard of
        self.topics_answer: BaseException | set[str] = set()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0, 1} if topic in self.known else None

    async def topics(self) -> set[str]:
        if isinstance(self.topics_answer, BaseException):
            raise self.topics_answer
        return self.topics_answer

    async def start(self) -> None:
        pass

    def subscribe(self, _topics: object, listener: Any) -> None:
        self.listener = listener

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """As the group would."""
        self.positions = {each: self.committed_offsets.get(each, 0) for each in partitions}
        await self.listener.on_partitions_assigned(partitions)

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        if partition not in self.positions:
            raise IllegalStateError(str(partition))
        return self.positions[partition]

    async def committed(self, partition: TopicPartition) -> int | None:
        return self.committed_offsets.get(partition)

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def commit(self, ends: Mapping[TopicPartition, int]) -> None:
        if self.commit_answer is not None:
            raise self.commit_answer
        self.committed_offsets |= ends

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int = 500
    ) -> dict[TopicPartition, list[Any]]:
        fetched: dict[TopicPartition, list[Any]] = {}
        for each in partitions or list(self.positions):
            found = []
            for record in self.log.get(each, [])[self.positions[each] :][:max_records]:
                if record is BAD:
                    raise UnicodeDecodeError("utf-8", b"caf\xe9", 3, 4, "unexpected end of data")
                found.append(record)
            self.positions[each] += len(found)
            if found:
                fetched[each] = found
        return fetched
