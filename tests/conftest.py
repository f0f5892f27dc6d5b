"""What all tests share: one real Kafka for the session, topics with names of their own, and the order of the tests."""

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from worker.local import ports
from worker.local.broker import KafkaUnavailable, LocalKafka
from worker.local.kafka import local_kafka

# No example's truth depends on how long it took.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

RANKS = ("chart", "models", "gpu", "kafka")
"""Markers from quick to slow; tests without any of them come first of all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make fidelity` and `make fuzz` are the full ones."""
    words = "how many prompts are compared with the release's own code"
    parser.addoption("--fidelity", choices=("short", "full"), default="short", help=words)
    parser.addoption("--fuzz-records", type=int, default=1500, help="how many records are fuzzed (make fuzz)")
    parser.addoption("--fuzz-seed", type=int, default=1, help="which records they are")


def pytest_configure() -> None:
    """Ports of its own for each process of the tests: what is found free here is bound by a worker, seconds later."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports.PORTS = ports.PORTS[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the `kafka` fixture, and run quick tests first: a slip shows before a broker starts."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return max((rank for rank, name in enumerate(RANKS, start=1) if item.get_closest_marker(name)), default=0)


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command in this process makes of its logs ends with the test, as its standard error does."""
    monkeypatch.setattr("worker.observability.logs.atexit", SimpleNamespace(register=lambda _: None))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[LocalKafka]:
    """A running Kafka: the one that MODERATION_TEST_KAFKA names, else one in Docker, else one on a JVM."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    say = reporter.write_line if reporter else print
    try:
        # Nobody kills this one: where it only stood still for a while, nobody need take it for gone.
        patient = {"broker.session.timeout.ms": "60000"}
        with local_kafka(os.environ.get("MODERATION_TEST_KAFKA"), properties=patient, say=say) as broker:
            yield broker
    except KafkaUnavailable as cause:
        hint = "Name a Kafka in MODERATION_TEST_KAFKA, or leave these tests out: -m 'not kafka'"
        pytest.fail(f"{cause}\n{hint}", pytrace=False)


@pytest.fixture
def topics(kafka: LocalKafka) -> Callable[..., str]:
    """Makes topics that no other test uses: `name = topics(partitions=4, config={...})`.

    A plain call, in tests with and without an event loop.
    """
    from worker.stream.kafka.topics import TopicSpec, create_topics

    def make(partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        spec = TopicSpec(f"test-{uuid.uuid4().hex[:12]}", partitions, 1, config or {})
        create = create_topics([spec], bootstrap_servers=kafka.bootstrap_servers)
        with ThreadPoolExecutor(1) as thread:  # a thread has no loop yet, whatever this one is doing
            (result,) = thread.submit(asyncio.run, create).result()
        assert result.created, str(result)
        return result.name

    return make
