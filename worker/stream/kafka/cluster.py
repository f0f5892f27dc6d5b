"""What a Kafka cluster says about its topics and groups, and about what this client may do with them.

aiokafka's own requests stop at versions that leave the authorised operations out, and its metadata request may create
the topics it asks about. The two requests here are built from aiokafka's public protocol classes.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.admin import (
    DescribeGroupsRequest_v0,
    DescribeGroupsRequest_v3,
    DescribeGroupsResponse_v3,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String


class Operations(IntFlag):
    """The rights that a worker needs, as bits of Kafka's `authorized_operations`."""

    READ = 1 << 3
    WRITE = 1 << 4


_NOT_SAID = -(1 << 31)
"""What a broker answers in place of the operations when it does not know them."""


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """One topic as the cluster describes it to this client."""

    name: str
    error: type[Exception] | None
    """An error of `aiokafka.errors` in place of the rest, such as UnknownTopicOrPartitionError."""
    partitions: int
    replication_factor: int
    has_leaders: bool
    """Whether every partition has a leader, that is, can be written and read now."""
    operations: Operations | None
    """What this client may do with it; None if the broker does not say."""


@asynccontextmanager
async def connected(
    bootstrap_servers: str, security: Mapping[str, Any], *, request_timeout: float = 10.0
) -> AsyncIterator[AIOKafkaClient]:
    """A client for requests to the cluster. `security` holds aiokafka's connection keywords, `request_timeout` is in
    seconds. Raises aiokafka's KafkaConnectionError if no broker takes the connection (the cause is only logged)."""
    timeout_ms = int(request_timeout * 1000)
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=timeout_ms, **security)
    try:
        await client.bootstrap()
        yield client
    finally:
        with contextlib.suppress(Exception):  # a broken connection is closed already
            await client.close()


async def topic_metadata(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, TopicMetadata]:
    """The topics of these names, in the same order. Never creates one. Raises aiokafka's errors."""
    wanted = list(dict.fromkeys(names))
    answer = await client.send(client.get_random_node(), _MetadataRequest(wanted))
    told = {topic["topic"]: _read_topic(topic) for topic in answer.to_object()["topics"]}
    return {name: told[name] for name in wanted}


async def group_operations(client: AIOKafkaClient, group: str) -> Operations | None:
    """What this client may do with the group, which need not exist yet; None if the broker does not say.

    Raises aiokafka's errors: GroupAuthorizationFailedError if the group may not even be described,
    GroupCoordinatorNotAvailableError while the cluster makes its coordinators ready.
    """
    described = await _describe_group(client, group)
    error = _error(described["error_code"])
    if error is not None and error.__name__ != "GroupIdNotFoundError":
        raise error(group)
    return _read_operations(described.get("authorized_operations"))


async def group_members(client: AIOKafkaClient, group: str) -> int:
    """How many members the group has now; 0 for one that does not exist. Raises as `group_operations`."""
    return len((await _describe_group(client, group))["members"])


async def _describe_group(client: AIOKafkaClient, group: str) -> Mapping[str, Any]:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(coordinator, _DescribeGroupRequest(group))
    described: Mapping[str, Any] = answer.to_object()["groups"][0]
    return described


def _read_topic(topic: Mapping[str, Any]) -> TopicMetadata:
    partitions = topic["partitions"]
    return TopicMetadata(
        name=topic["topic"],
        error=_error(topic["error_code"]),
        partitions=len(partitions),
        replication_factor=len(partitions[0]["replicas"]) if partitions else 0,
        has_leaders=bool(partitions) and all(partition["leader"] >= 0 for partition in partitions),
        operations=_read_operations(topic.get("authorized_operations")),
    )


def _read_operations(bits: int | None) -> Operations | None:
    return None if bits is None or bits == _NOT_SAID else Operations(bits) & (Operations.READ | Operations.WRITE)


def _error(code: int) -> type[Exception] | None:
    error: type[Exception] = for_code(code)
    return error if code else None


class _MetadataResponse_v8(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way to name versions
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest_v8(RequestStruct):  # type: ignore[misc]  # noqa: N801
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[MetadataRequest_v4 | _MetadataRequest_v8]):  # type: ignore[misc]
    """Asks for topics without creating them; with the operations where the broker is new enough (Kafka 2.3)."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, version: type[RequestStruct]) -> RequestStruct:
        if version is _MetadataRequest_v8:
            return version(self._topics, False, False, True)
        return version(self._topics, False)


class _DescribeGroupsRequest_v3(DescribeGroupsRequest_v3):  # type: ignore[misc]  # noqa: N801
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # aiokafka 0.14 names v2's here, which drops the operations


class _DescribeGroupRequest(Request[DescribeGroupsRequest_v0 | _DescribeGroupsRequest_v3]):  # type: ignore[misc]
    """Asks for one group; with the operations where the broker is new enough (Kafka 2.3)."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, version: type[RequestStruct]) -> RequestStruct:
        if version is _DescribeGroupsRequest_v3:
            return version([self._group], True)
        return version([self._group])
