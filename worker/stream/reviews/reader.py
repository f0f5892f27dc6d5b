"""What reviewers have decided, and the verdicts they decided on: both topics, read to where they end now."""

from collections.abc import AsyncIterator

from aiokafka.structs import ConsumerRecord

from worker.settings import Settings, SettingsError
from worker.stream.kafka.topic_reader import reading


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
    async with reading(settings, topic) as reader:
        async for chunk in reader.chunks():
            for record in chunk.records:
                yield _value_of(record)


def _value_of(record: ConsumerRecord) -> bytes | None:
    value: bytes | None = record.value
    return value
