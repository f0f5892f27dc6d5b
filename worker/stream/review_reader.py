"""What reviewers have decided, and the verdicts they decided on: both topics, read to where they end now."""

from collections.abc import AsyncIterator

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from worker.settings import Settings, SettingsError
from worker.stream.connection import security_of
from worker.stream.dead_letter_reader import DeadLetterReader, consumer_of
from worker.stream.dead_letter_selection import Selection
from worker.stream.preflight import preflight
from worker.stream.start import KafkaNotReady
from worker.stream.topics import describe_topics


async def review_values(settings: Settings) -> AsyncIterator[bytes | None]:
    """The values of the reviews topic. Raises SettingsError where it is not set, KafkaNotReady, KafkaError and
    TimeoutError."""
    if settings.reviews_topic is None:
        raise SettingsError("setting reviews_topic: is not set, so there are no reviews to read")
    async for value in _values(settings, settings.reviews_topic):
        yield value


async def verdict_values(settings: Settings) -> AsyncIterator[bytes | None]:
    """The values of the review topic: the verdicts that may carry their events. Raises as `review_values`."""
    async for value in _values(settings, settings.review_topic):
        yield value


async def _values(settings: Settings, topic: str) -> AsyncIterator[bytes | None]:
    """A reading that leaves no trace: no group, no commit."""
    partitions = await _partitions_of(settings, topic)
    async with consumer_of(settings) as consumer:
        consumer.assign(partitions)
        reader = await DeadLetterReader.open(consumer, partitions, Selection())
        async for chunk in reader.chunks():
            for record in chunk.records:
                yield _value_of(record)


def _value_of(record: ConsumerRecord) -> bytes | None:
    value: bytes | None = record.value
    return value


async def _partitions_of(settings: Settings, topic: str) -> list[TopicPartition]:
    security = security_of(settings)
    faults = await preflight(
        bootstrap_servers=settings.bootstrap_servers, security=security, group=None, reads=[topic], writes=[]
    )
    if faults:
        raise KafkaNotReady(faults)
    found = await describe_topics([topic], bootstrap_servers=settings.bootstrap_servers, security=security)
    described = found[topic]
    return [TopicPartition(topic, each) for each in range(described.partitions if described else 0)]
