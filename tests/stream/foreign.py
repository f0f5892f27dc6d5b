"""A client that shares no code with the worker: confluent-kafka, on librdkafka. Blocking: call it in a thread."""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from worker.contract.verdict import verdict_id_of

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Sent:
    """A record that Kafka has."""

    partition: int
    offset: int
    timestamp: int
    id: uuid.UUID


def produce(
    bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None, Headers]], **options: Any
) -> list[Sent]:
    """Sends (key, value, headers); returns when Kafka has all of them. `options` are librdkafka's, with _ for dots."""
    settings = {"bootstrap.servers": bootstrap, "message.max.bytes": 16 << 20, "linger.ms": 5}
    producer = Producer({**settings, **{name.replace("_", "."): value for name, value in options.items()}})
    now = int(time.time() * 1000)
    sent: dict[int, Sent] = {}

    def delivered(number: int, error: object, message: Message) -> None:
        assert error is None, error
        place = message.partition(), message.offset()
        sent[number] = Sent(*place, now, verdict_id_of(topic, *place, now))

    for number, (key, value, headers) in enumerate(records):
        done = partial(delivered, number)
        producer.produce(topic, value, key, headers=list(headers), timestamp=now, on_delivery=done)
        producer.poll(0)
    assert producer.flush(60) == 0
    return [sent[number] for number in sorted(sent)]


def consume(bootstrap: str, topics: Sequence[str], count: int, seconds: float) -> list[Message]:
    """The first `count` records of the topics, from their beginnings."""
    settings = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    try:
        found = (consumer.list_topics(topic, 30).topics[topic] for topic in topics)
        consumer.assign([TopicPartition(each.topic, number, 0) for each in found for number in each.partitions])
        records: list[Message] = []
        deadline = time.monotonic() + seconds
        while len(records) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None:
                assert message.error() is None, message.error()
                records.append(message)
        return records
    finally:
        consumer.close()
