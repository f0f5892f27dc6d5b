"""Topics, created where they are missing and described where they are not. An existing topic is never altered."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from worker.stream.kafka.cluster import TopicMetadata, connected, topic_metadata

_BACKOFF_S = 0.05
_NO_SECURITY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it is wanted."""

    name: str
    partitions: int
    replication_factor: int
    """Copies of each partition, at most as many as there are brokers."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Kafka's topic settings, such as `retention.ms`."""


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as it is."""

    name: str
    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True)
class TopicResult:
    """What became of one `TopicSpec`. `str()` is one line for a person."""

    name: str
    created: bool
    topic: TopicDescription | None
    """The topic as it is now, whether created or found; None with a `fault`."""
    fault: str | None = None
    """Why the topic could be neither found nor created."""

    def __str__(self) -> str:
        if self.topic is None:
            return f"topic {self.name} cannot be created: {self.fault}"
        what = "created" if self.created else "exists, left as it is"
        return f"topic {self.name} {what}: partitions {self.topic.partitions}, copies {self.topic.replication_factor}"


async def create_topics(
    specs: Sequence[TopicSpec],
    *,
    bootstrap_servers: str,
    security: Mapping[str, Any] = _NO_SECURITY,
    timeout: float = 30.0,  # noqa: ASYNC109 - for all its steps together
) -> list[TopicResult]:
    """Create what is missing; a result for every spec, in their order. Returns when every new topic can be used.

    Args:
        specs: the topics wanted, of different names.
        bootstrap_servers: `host:port[,host:port...]`.
        security: aiokafka's connection keywords (`security_protocol`, `ssl_context`, `sasl_...`).
        timeout: seconds for everything together.

    Raises TimeoutError, and aiokafka's KafkaConnectionError if no broker takes the connection.
    """
    async with asyncio.timeout(timeout), connected(bootstrap_servers, security) as client:
        names = [spec.name for spec in specs]
        found = _existing(await topic_metadata(client, names))
        missing = [spec for spec in specs if spec.name not in found]
        faults = await _create(missing, bootstrap_servers, security) if missing else {}
        made = [spec.name for spec in missing if spec.name not in faults]
        # The controller has answered; the other brokers hear of the topics a moment later.
        topics = found | await _when_usable(client, made)
    return [TopicResult(name, created=name in made, topic=topics.get(name), fault=faults.get(name)) for name in names]


async def describe_topics(
    names: Iterable[str],
    *,
    bootstrap_servers: str,
    security: Mapping[str, Any] = _NO_SECURITY,
    timeout: float = 30.0,  # noqa: ASYNC109 - for all its steps together
) -> dict[str, TopicDescription | None]:
    """The topics of these names, in their order; None for one that does not exist. Creates nothing.

    Raises TimeoutError, aiokafka's KafkaConnectionError if no broker takes the connection, and
    TopicAuthorizationFailedError for a topic that this client may not describe.
    """
    async with asyncio.timeout(timeout), connected(bootstrap_servers, security) as client:
        topics = await topic_metadata(client, names)
    for topic in topics.values():
        if topic.error is not None and not issubclass(topic.error, UnknownTopicOrPartitionError):
            raise topic.error(topic.name)
    found = _existing(topics)
    return {name: found.get(name) for name in topics}


def _existing(topics: Mapping[str, TopicMetadata]) -> dict[str, TopicDescription]:
    return {
        name: TopicDescription(name, topic.partitions, topic.replication_factor)
        for name, topic in topics.items()
        if topic.error is None
    }


async def _when_usable(client: AIOKafkaClient, names: Sequence[str]) -> dict[str, TopicDescription]:
    """The topics as they are once each of their partitions has a leader."""
    while True:
        topics = await topic_metadata(client, names)
        if all(topic.has_leaders for topic in topics.values()):
            return _existing(topics)
        await asyncio.sleep(_BACKOFF_S)


async def _create(specs: Sequence[TopicSpec], bootstrap_servers: str, security: Mapping[str, Any]) -> dict[str, str]:
    """Ask the controller to create the topics; returns name -> why for those that it refused."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, **security)
    try:
        await admin.start()
        answer = await admin.create_topics(
            [NewTopic(s.name, s.partitions, s.replication_factor, topic_configs=dict(s.config)) for s in specs]
        )
    finally:
        await admin.close()
    return {
        name: message or for_code(code).__name__
        for name, code, message in answer.topic_errors
        # Another process may have created it since it was found missing: that is as good.
        if code and not issubclass(for_code(code), TopicAlreadyExistsError)
    }
