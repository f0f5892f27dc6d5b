"""What every Kafka of `worker.local` has in common: its face, its settings, and the error when there is none."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

Say = Callable[[str], None]
"""Takes one line of progress for a person."""

Kind = Literal["given", "docker", "jvm"]


class KafkaUnavailable(RuntimeError):
    """No Kafka can be had here. The message says why and what to install."""


class LocalKafka(Protocol):
    """A Kafka that answers now."""

    @property
    def kind(self) -> Kind:
        """Where it comes from: named by the caller, a container, or a JVM of ours."""

    @property
    def bootstrap_servers(self) -> str:
        """Its address, `host:port`, as Kafka clients take it."""

    def describe(self) -> str:
        """One line for a person."""


def silent(_: str) -> None:
    """A `Say` for callers who want no progress."""


BROKER_SETTINGS: Mapping[str, str] = {
    # A group's first member need not wait for others to come: three seconds saved in every test.
    "group.initial.rebalance.delay.ms": "0",
    # A misspelt topic must be an error, as on any well-kept cluster.
    "auto.create.topics.enable": "false",
    # One broker carries the internal topics alone; few partitions make its first start and its restarts quick.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Chat events may carry images: 16 MiB a record batch instead of Kafka's 1 MiB. Producers have a limit of their own.
    "message.max.bytes": str(16 * 1024 * 1024),
    # After a SIGKILL a broker must wait for its earlier session to expire: 4 s instead of 9 s.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # The compactor's buffer is 128 MiB by default, a quarter of the heap given here.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}

HEAP = "-Xmx512m"
"""The JVM option for the broker's heap. With it, a broker keeps about 330 MB resident."""
