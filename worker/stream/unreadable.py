"""Finds the record at which aiokafka's consumer stops: what the broker has from an offset on, asked for once more and
read byte by byte."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest

from worker.settings import Settings
from worker.stream.cluster import connected
from worker.stream.connection import security_of
from worker.stream.raw_records import Batch, RawRecord, batches_of

_WAIT_MS, _READ_COMMITTED = 500, 1
_CHUNK = 1 << 20  # bytes a request; a larger batch comes whole


@dataclass(frozen=True, slots=True)
class Impasse:
    """What the consumer cannot get past: the rest of a batch in which some record is unreadable. The consumer reads a
    batch from its beginning, so that it cannot read the records behind that one either."""

    records: Sequence[RawRecord]
    end: int
    """The offset to read on at."""


async def impasse_at(settings: Settings, partition: TopicPartition, position: int) -> Impasse | None:
    """Why the consumer cannot read on at `position`; None if nothing up to the partition's end is unreadable.

    Raises aiokafka's errors where no broker answers.
    """
    async with connected(settings.bootstrap_servers, security_of(settings)) as client:
        await client.set_topics([partition.topic])
        at = position
        while True:
            batches, aborted = await _fetch(client, partition, at)
            if not batches:
                return None
            if (found := _first(batches, aborted, partition, position)) is not None:
                return found
            at = batches[-1].end


async def _fetch(
    client: AIOKafkaClient, partition: TopicPartition, position: int
) -> tuple[Sequence[Batch], Sequence[tuple[int, int]]]:
    """Batches from `position` on, and the aborted transactions in them as (producer, first offset)."""
    leader = client.cluster.leader_for_partition(partition)
    if leader in (None, -1):
        raise LeaderNotAvailableError(partition)
    wanted = [(partition.topic, [(partition.partition, position, _CHUNK)])]
    answer = await client.send(leader, FetchRequest(_WAIT_MS, 1, _CHUNK, _READ_COMMITTED, wanted))
    _, error, _highwater, *rest = answer.topics[0][1][0]
    if error:
        raise for_code(error)(partition)
    # The last stable offset comes first in the rest, the records last; the aborted transactions move with the version.
    aborted = next((each for each in rest[1:-1] if isinstance(each, list)), [])
    return list(batches_of(bytes(rest[-1] or b""))), aborted


def _first(
    batches: Sequence[Batch], aborted: Sequence[tuple[int, int]], partition: TopicPartition, position: int
) -> Impasse | None:
    """The first batch with an unreadable record; those of aborted transactions last: the consumer steps over them."""
    passed_over = None
    for batch in batches:
        records = list(batch.records(*partition)) if batch.holds_records and batch.end > position else []
        if all(record.readable for record in records):
            continue
        found = Impasse([record for record in records if record.offset >= position], batch.end)
        if not any(batch.producer == producer and first <= batch.start for producer, first in aborted):
            return found
        passed_over = passed_over or found
    return passed_over
