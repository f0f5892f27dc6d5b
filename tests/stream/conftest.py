"""The rig of stream tests as a fixture."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stream.dead_letter_desk import Desk
from tests.stream.rig import Gate, Rig
from worker.local.broker import KafkaUnavailable, LocalKafka
from worker.local.jvm_broker import JvmBroker

OUTPUTS = ("safe_topic", "unsafe_topic", "review_topic", "dead_letter_topic")


@pytest.fixture(scope="module")
def broker() -> Iterator[JvmBroker]:
    """A broker to be harmed. Whoever ends it starts it again."""
    try:
        with JvmBroker() as running:
            yield running
    except KafkaUnavailable as cause:
        pytest.fail(f"{cause}\nLeave these tests out: -m 'not kafka'", pytrace=False)


@pytest.fixture
def rig(kafka: LocalKafka, topics: Callable[..., str], tmp_path: Path) -> Rig:
    """Topics of four partitions each, and a group, that no other test uses."""
    large = {"max.message.bytes": str(16 << 20)}
    outputs = {name: topics(partitions=4, config=large) for name in OUTPUTS}
    input_topic = topics(partitions=4, config=large)
    return Rig(kafka.bootstrap_servers, tmp_path, outputs, input_topic, group=f"group-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def gate(rig: Rig) -> Gate:
    """A closed one, for a worker's FAKE_WAIT_WHILE."""
    return Gate(rig.folder / "held")


@pytest.fixture
def desk(rig: Rig) -> Desk:
    """A person at the dead letters of the rig."""
    return Desk(rig)
