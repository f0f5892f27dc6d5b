"""Finds the record at which aiokafka's consumer stops: what the broker has from an offset on, asked for once more and
read byte by byte."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest

from worker.settings import Settings
from worker.stream.kafka.cluster import connected
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.raw_records import Batch, RawRecord, batches_of

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
    """The first batch with an unreadable record that is not of an aborted transaction: the consumer steps over those. A
    transaction goes from its first offset to its marker, and its producer may have committed another one behind it."""
    coming = sorted(aborted, key=lambda each: each[1])
    aborting: set[int | None] = set()  # producers
    for batch in batches:
        while coming and coming[0][1] <= batch.start:
            aborting.add(coming.pop(0)[0])
        if batch.aborts:
            aborting.discard(batch.producer)
        if not batch.holds_records or batch.end <= position or (batch.producer in aborting):
            continue
        records = list(batch.records(*partition))
        if not all(record.readable for record in records):
            return Impasse([record for record in records if record.offset >= position], batch.end)
    return None
