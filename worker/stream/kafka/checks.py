"""What a worker needs of Kafka, checked before it loads its models: one question, asked by `run` and by `topics
check`."""

from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from worker.settings import Settings
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.preflight import Fault, preflight

_LIMIT = "max.message.bytes"
RECORD_OVERHEAD = 1024  # bytes that Kafka counts beside the record's own


async def kafka_faults(settings: Settings) -> list[Fault]:
    """Everything that would keep a worker with these settings from its work; empty if nothing would."""
    faults = await preflight(
        bootstrap_servers=settings.bootstrap_servers,
        security=security_of(settings),
        group=settings.group,
        reads=[settings.input_topic],
        writes=settings.written_topics,
    )
    return faults or await _too_small_topics(settings)


async def sender_faults(settings: Settings) -> list[Fault]:
    """Everything that would keep somebody from sending chat events and reading what becomes of them."""
    return await preflight(
        bootstrap_servers=settings.bootstrap_servers,
        security=security_of(settings),
        group=None,
        reads=settings.output_topics,
        writes=[settings.input_topic],
    )


async def review_faults(settings: Settings) -> list[Fault]:
    """Everything that would keep a worker from reading the reviews topic; empty if nothing would, or there is none."""
    if settings.reviews_topic is None:
        return []
    return await preflight(
        bootstrap_servers=settings.bootstrap_servers,
        security=security_of(settings),
        group=settings.reviews_group,
        reads=[settings.reviews_topic],
        writes=[],
    )


async def connection_faults(settings: Settings) -> list[Fault]:
    """Why no broker takes the connection; empty if one does."""
    return await preflight(
        bootstrap_servers=settings.bootstrap_servers, security=security_of(settings), group=None, reads=[], writes=[]
    )


async def _too_small_topics(settings: Settings) -> list[Fault]:
    """Output topics that would refuse a record which the settings allow. The broker refuses it after the hand-over,
    when it is too late to publish something smaller. Topics whose settings we may not see are believed to be large
    enough."""
    limits = await record_limits(settings, settings.written_topics)
    return [
        Fault(
            f"topic {topic}",
            f"takes records of at most {limit} bytes, and max_record_bytes is {settings.max_record_bytes}",
            f"raise the topic's {_LIMIT}, or set MODERATION_MAX_RECORD_BYTES to {limit - RECORD_OVERHEAD} or less",
        )
        for topic, limit in limits.items()
        if limit < settings.max_record_bytes + RECORD_OVERHEAD
    ]


async def record_limits(settings: Settings, topics: Sequence[str]) -> dict[str, int]:
    """`max.message.bytes` of the topics whose settings we may see."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers, **security_of(settings))
    try:
        await admin.start()
        wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, configs={_LIMIT: None}) for topic in topics]
        answers = await admin.describe_configs(wanted)
    except KafkaError:
        return {}
    finally:
        await admin.close()
    return {topic: limit for answer in answers for topic, limit in _limits_in(answer)}


def _limits_in(answer: Any) -> list[tuple[str, int]]:
    found = []
    for error_code, _message, _kind, topic, entries in answer.resources:
        values = {entry[0]: entry[1] for entry in entries}
        if error_code == 0 and values.get(_LIMIT):
            found.append((topic, int(values[_LIMIT])))
    return found
