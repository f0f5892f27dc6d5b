"""Where a local Kafka comes from: the one given, one in Docker, one on a JVM, or an error that says what to install."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.local import kafka as module
from worker.local.broker import KafkaUnavailable, Kind
from worker.local.docker_broker import IMAGE, DockerBroker, environment_name
from worker.local.kafka import local_kafka

# -- which one is taken


class FakeBroker:
    """Starts, or says why it cannot; notes what happened to it."""

    def __init__(self, kind: Kind, obstacle: str | None) -> None:
        self.kind, self.obstacle, self.calls = kind, obstacle, list[str]()
        self.bootstrap_servers = f"{kind}:9092"

    def __call__(self, **_: object) -> "FakeBroker":
        return self  # stands in for the class as well

    def start(self) -> None:
        self.calls.append("start")
        if self.obstacle:
            raise KafkaUnavailable(self.obstacle)

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[FakeBroker, FakeBroker]]:
    def make(docker: str | None = None, jvm: str | None = None) -> tuple[FakeBroker, FakeBroker]:
        brokers = FakeBroker("docker", docker), FakeBroker("jvm", jvm)
        monkeypatch.setattr(module, "DockerBroker", brokers[0])
        monkeypatch.setattr(module, "JvmBroker", brokers[1])
        return brokers

    return make


def test_a_given_kafka_is_used_as_it_is(world: Callable[..., tuple[FakeBroker, FakeBroker]]) -> None:
    docker, jvm = world()
    with local_kafka("a:1,b:2") as kafka:
        assert (kafka.kind, kafka.bootstrap_servers, kafka.describe()) == ("given", "a:1,b:2", "Kafka at a:1,b:2")
    assert docker.calls == jvm.calls == []


def test_docker_comes_before_a_jvm(world: Callable[..., tuple[FakeBroker, FakeBroker]]) -> None:
    docker, jvm = world()
    with local_kafka() as kafka:
        assert kafka.kind == "docker"
        assert docker.calls == ["start"]
    assert docker.calls == ["start", "close"] and jvm.calls == []


def test_a_jvm_where_docker_does_not_start(world: Callable[..., tuple[FakeBroker, FakeBroker]]) -> None:
    docker, jvm = world(docker="no engine")
    with pytest.raises(ZeroDivisionError), local_kafka() as kafka:
        assert kafka.kind == "jvm"
        raise ZeroDivisionError
    assert docker.calls == jvm.calls == ["start", "close"]  # closed although the block failed


def test_neither_names_what_to_install(world: Callable[..., tuple[FakeBroker, FakeBroker]]) -> None:
    world(docker="install Docker", jvm="install Java")
    with pytest.raises(KafkaUnavailable) as error, local_kafka():
        pass
    assert str(error.value).splitlines()[1:] == ["- docker: install Docker", "- jvm: install Java"]


# -- Docker, by a fake of testcontainers


class FakeContainer:
    made: "FakeContainer"

    def __init__(self, image: str) -> None:
        self.image, self.env, self.calls = image, dict[str, str](), list[str]()
        FakeContainer.made = self

    def with_kraft(self) -> "FakeContainer":
        self.calls.append("kraft")
        return self

    def with_env(self, name: str, value: str) -> "FakeContainer":
        self.env[name] = value
        return self

    def start(self, timeout: int) -> None:
        self.calls.append("start")
        if self.env.get("KAFKA_BROKEN"):
            raise ConnectionError("manifest unknown")

    def stop(self) -> None:
        self.calls.append("stop")

    def get_bootstrap_server(self) -> str:
        return "localhost:32801"


@pytest.fixture
def fake_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.local.docker_broker._testcontainers_kafka", lambda: FakeContainer)
    monkeypatch.setattr("worker.local.docker_broker._ping_engine", lambda: None)


@pytest.mark.usefixtures("fake_docker")
class TestDocker:
    def test_starts_and_removes_one_container(self) -> None:
        broker = DockerBroker(properties={"message.max.bytes": "7"})
        broker.start()
        container = FakeContainer.made
        assert broker.bootstrap_servers == "localhost:32801" and IMAGE in broker.describe()
        assert container.env["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert container.env["KAFKA_MESSAGE_MAX_BYTES"] == "7"
        broker.close()
        broker.close()
        assert container.calls == ["kraft", "start", "stop"]

    def test_a_container_that_does_not_start_is_removed(self) -> None:
        with pytest.raises(KafkaUnavailable, match="does not start: manifest unknown"):
            DockerBroker(properties={"broken": "yes"}).start()
        assert FakeContainer.made.calls == ["kraft", "start", "stop"]


def test_without_testcontainers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.community.kafka", None)  # makes its import fail
    with pytest.raises(KafkaUnavailable, match=r"pip install 'moderation-worker\[local\]'"):
        DockerBroker().start()


def test_without_an_engine_docker_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(KafkaUnavailable, match="install and start Docker"):
        DockerBroker().start()


def test_settings_are_named_as_the_image_wants_them() -> None:
    assert environment_name("group.initial.rebalance.delay.ms") == "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS"


def test_the_program_says_what_to_install(
    world: Callable[..., tuple[FakeBroker, FakeBroker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    world(docker="install Docker", jvm="install Java")
    with pytest.raises(SystemExit, match="- jvm: install Java"):
        module.main()
