"""A real Kafka for demos and tests: the one you name, else one in Docker, else one on a JVM of our own.

`python -m worker.local.kafka` keeps one running until Ctrl-C and prints its address.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from worker.local.broker import KafkaUnavailable, Kind, LocalKafka, Say, silent
from worker.local.docker_broker import DockerBroker
from worker.local.jvm_broker import JvmBroker


@dataclass(frozen=True, slots=True)
class GivenKafka:
    """A Kafka that somebody else runs; left as it is."""

    bootstrap_servers: str
    kind: Kind = "given"

    def describe(self) -> str:
        return f"Kafka at {self.bootstrap_servers}"


@contextmanager
def local_kafka(
    bootstrap: str | None = None, *, properties: Mapping[str, str] | None = None, say: Say = silent
) -> Iterator[LocalKafka]:
    """A Kafka that lives as long as the `with` block.

    Args:
        bootstrap: `host:port[,host:port...]` of a running Kafka to use as it is; it is not contacted here.
        properties: broker settings for a Kafka that is started here.
        say: takes progress, one line at a time. The first start ever on a JVM fetches 43 MB.

    Raises KafkaUnavailable, naming everything that was tried and what to install, if none can be had.
    """
    if bootstrap:
        yield GivenKafka(bootstrap)
        return
    broker = _first_that_starts(DockerBroker(properties=properties, say=say), JvmBroker(properties=properties, say=say))
    try:
        yield broker
    finally:
        broker.close()


def _first_that_starts(*brokers: DockerBroker | JvmBroker) -> DockerBroker | JvmBroker:
    obstacles = []
    for broker in brokers:
        try:
            broker.start()
        except KafkaUnavailable as obstacle:
            broker.close()
            obstacles.append(f"- {broker.kind}: {obstacle}")
        except BaseException:  # an interrupt, say: leave nothing behind
            broker.close()
            raise
        else:
            return broker
    raise KafkaUnavailable("\n".join(["no Kafka can be started here. Any one of these would do:", *obstacles]))


def main() -> None:
    """Run a Kafka until Ctrl-C or SIGTERM; its address is the one line on standard output."""
    import typer

    def say(line: str) -> None:
        typer.echo(line, err=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt), local_kafka(say=say) as kafka:
            say(f"{kafka.describe()}; Ctrl-C stops it")
            typer.echo(kafka.bootstrap_servers)
            signal.pause()
    except KafkaUnavailable as cause:
        sys.exit(str(cause))


if __name__ == "__main__":
    main()
