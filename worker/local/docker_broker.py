"""A Kafka in a container, by testcontainers (the extra `local`), where a Docker engine answers."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from worker.local.broker import BROKER_SETTINGS, HEAP, KafkaUnavailable, Kind, Say, silent

# The image that testcontainers' own class is tested with: it rewrites the start script of Confluent's images.
IMAGE = "confluentinc/cp-kafka:7.6.0"
START_TIMEOUT_S = 120
PING_TIMEOUT_S = 5


class DockerBroker:
    """One container. Call `start` and `close`; testcontainers' reaper removes it if this process is killed."""

    kind: Kind = "docker"

    def __init__(self, *, properties: Mapping[str, str] | None = None, say: Say = silent) -> None:
        """Nothing runs before `start`. `properties` go on top of `BROKER_SETTINGS`."""
        self._properties = {**BROKER_SETTINGS, **(properties or {})}
        self._say = say
        self._container: Any = None
        self._bootstrap = ""

    @property
    def bootstrap_servers(self) -> str:
        return self._bootstrap

    def describe(self) -> str:
        return f"Kafka in Docker ({IMAGE}) at {self._bootstrap}"

    def start(self) -> None:
        """Start the container; returns when clients can use it.

        Raises KafkaUnavailable if testcontainers is not installed, no engine answers, or the container does not come
        up within `START_TIMEOUT_S` (an image that cannot be pulled, for one).
        """
        container_class = _testcontainers_kafka()
        _ping_engine()
        self._say(f"starting Kafka in Docker ({IMAGE})")
        container = container_class(IMAGE).with_kraft().with_env("KAFKA_HEAP_OPTS", HEAP)
        for name, value in self._properties.items():
            container.with_env(environment_name(name), value)
        self._container = container
        try:
            container.start(timeout=START_TIMEOUT_S)
            self._bootstrap = container.get_bootstrap_server()
        except Exception as cause:  # docker, requests and testcontainers each bring their own errors
            self.close()
            raise KafkaUnavailable(f"Docker answers, but {IMAGE} does not start: {cause}") from cause

    def close(self) -> None:
        """Remove the container and its data. Safe to call twice."""
        if self._container is not None:
            self._container.stop()
            self._container = None


def environment_name(setting: str) -> str:
    """How Confluent's images name a broker setting: `message.max.bytes` is KAFKA_MESSAGE_MAX_BYTES."""
    return "KAFKA_" + setting.replace("_", "__").replace(".", "_").upper()


def _testcontainers_kafka() -> Any:
    try:
        from testcontainers.community.kafka import KafkaContainer
    except ImportError as cause:
        raise KafkaUnavailable(
            "no testcontainers, which starts Kafka on Docker: pip install 'moderation-worker[local]'"
        ) from cause
    return KafkaContainer


def _ping_engine() -> None:
    docker = import_module("docker")  # comes with testcontainers
    try:
        client = docker.from_env(timeout=PING_TIMEOUT_S)
        try:
            client.ping()
        finally:
            client.close()
    except Exception as cause:  # whatever keeps it from answering, it cannot be used
        raise KafkaUnavailable("no Docker engine answers: install and start Docker") from cause
