"""Topics against a real Kafka: created once, reported ever after, never altered."""

import asyncio
import uuid
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from worker.local.broker import LocalKafka
from worker.local.ports import free_ports
from worker.stream.kafka.topics import TopicDescription, TopicResult, TopicSpec, create_topics, describe_topics


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"


def test_a_result_is_one_line_for_a_person() -> None:
    topic = TopicDescription("chat.events", 12, 3)
    found = TopicResult("chat.events", created=False, topic=topic)
    made = TopicResult("chat.events", created=True, topic=topic)
    refused = TopicResult("chat.events", created=False, topic=None, fault="no right")
    assert str(found) == "topic chat.events exists, left as it is: partitions 12, copies 3"
    assert str(made) == "topic chat.events created: partitions 12, copies 3"
    assert str(refused) == "topic chat.events cannot be created: no right"


async def test_creates_what_is_missing_with_its_settings(kafka: LocalKafka) -> None:
    events, verdicts = unique("events"), unique("verdicts")
    specs = [TopicSpec(events, 3, 1), TopicSpec(verdicts, 1, 1, {"retention.ms": "3600000"})]

    results = await create_topics(specs, bootstrap_servers=kafka.bootstrap_servers)

    assert results == [
        TopicResult(events, created=True, topic=TopicDescription(events, 3, 1)),
        TopicResult(verdicts, created=True, topic=TopicDescription(verdicts, 1, 1)),
    ]
    assert await setting(kafka, verdicts, "retention.ms") == "3600000"
    # Usable at once: a consumer that starts now sees all partitions.
    async with AIOKafkaConsumer(events, bootstrap_servers=kafka.bootstrap_servers) as consumer:
        assert consumer.partitions_for_topic(events) == {0, 1, 2}


async def test_an_existing_topic_is_reported_and_left_as_it_is(kafka: LocalKafka, topics: Callable[..., str]) -> None:
    name, new = topics(partitions=2, config={"retention.ms": "1000000"}), unique("new")
    specs = [TopicSpec(name, 7, 1, {"retention.ms": "5"}), TopicSpec(new, 1, 1)]

    results = await create_topics(specs, bootstrap_servers=kafka.bootstrap_servers)

    assert results[0] == TopicResult(name, created=False, topic=TopicDescription(name, 2, 1))
    assert results[1].created
    assert await setting(kafka, name, "retention.ms") == "1000000"


async def test_two_at_once_both_end_well(kafka: LocalKafka) -> None:
    spec = TopicSpec(unique("race"), 2, 1)
    runs = [create_topics([spec], bootstrap_servers=kafka.bootstrap_servers) for _ in range(4)]
    results = [result for run in await asyncio.gather(*runs) for result in run]
    assert [result.topic for result in results] == [TopicDescription(spec.name, 2, 1)] * 4


async def test_a_refusal_harms_no_other_topic(kafka: LocalKafka) -> None:
    bad, good = unique("bad"), unique("good")
    specs = [TopicSpec(bad, 1, 1, {"no.such.setting": "1"}), TopicSpec("what a name!", 1, 1), TopicSpec(good, 1, 1)]

    setting_fault, name_fault, made = await create_topics(specs, bootstrap_servers=kafka.bootstrap_servers)

    assert setting_fault.topic is None and "no.such.setting" in str(setting_fault)
    assert name_fault.topic is None and name_fault.fault
    assert made.created
    assert await describe_topics([bad, good], bootstrap_servers=kafka.bootstrap_servers) == {
        bad: None,
        good: TopicDescription(good, 1, 1),
    }


async def test_describing_creates_nothing(kafka: LocalKafka) -> None:
    name = unique("absent")
    for _ in range(2):
        assert await describe_topics([name], bootstrap_servers=kafka.bootstrap_servers) == {name: None}


async def test_no_broker_is_an_error() -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(KafkaConnectionError):
        await describe_topics(["any"], bootstrap_servers=nobody)


async def setting(kafka: LocalKafka, topic: str, name: str) -> str:
    """One setting of a topic as the broker holds it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        await admin.start()
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    (resource,) = answer.resources
    return next(entry[1] for entry in resource[4] if entry[0] == name)
