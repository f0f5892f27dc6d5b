"""A start waits for brokers that are away, and for nothing else."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from worker.observability import metrics
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream import start as module
from worker.stream.kafka.preflight import Fault, KafkaNotReady

AWAY = Fault("broker b:1", "cannot be reached", "check it", math.inf)
STARTS = Fault("broker b:2", "broke off the conversation", "check that it speaks PLAINTEXT", 120.0)
NO_TOPIC = Fault("topic t", "does not exist", "create it")


class Kafka:
    """What is wrong with it, try after try; time passes only while a start waits."""

    def __init__(self, faults: Iterator[list[Fault]]) -> None:
        self.seconds, self.asked = 0.0, 0
        self._faults = faults

    async def ask(self, _settings: Settings) -> list[Fault]:
        self.asked += 1
        return next(self._faults)

    async def wait(self, seconds: float) -> None:
        assert metrics.WAITING_FOR_KAFKA._value.get() == 1
        self.seconds += seconds


async def start(monkeypatch: pytest.MonkeyPatch, *spells: tuple[int, list[Fault]]) -> Kafka:
    """Waits for a Kafka that shows these faults so often, one after the other, and then none."""
    kafka = Kafka(faults for times, faults in [*spells, (1, [])] for _ in range(times))
    monkeypatch.setattr(module, "kafka_faults", kafka.ask)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=kafka.wait))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: kafka.seconds))
    health = Health(60, 60, clock=lambda: kafka.seconds)
    with capture_logs() as lines:
        await module._kafka_is_there(Settings(), health)
    assert len(lines) == kafka.asked - 1
    assert (health.phase, metrics.WAITING_FOR_KAFKA._value.get()) == (Phase.LOADING, 0)
    return kafka


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_brokers_that_go_between_the_check_and_the_connection_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The connection fails so often; brokers are then away for a while, or back already when they are asked."""
    faults = iter([[AWAY], [AWAY], [], [], []])
    monkeypatch.setattr(module, "kafka_faults", Kafka(faults).ask)
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=wait))
    tries = []

    async def connect() -> None:
        tries.append(1)
        if len(tries) <= times:
            raise KafkaConnectionError("Unable to bootstrap")

    health = Health(60, 60)
    health.phase = Phase.LOADING
    with capture_logs() as lines:
        await module._connected(connect, Settings(), health)
    assert len(tries) == times + 1
    told = [line for line in lines if line["event"] == "the brokers went while the worker connected"]
    assert len(told) == times
    assert len(waited) == (times + 2 if times else 0), "a moment after each failure, and while nobody answers"
    assert (health.phase, metrics.WAITING_FOR_KAFKA._value.get()) == (Phase.LOADING, 0)


async def test_what_is_wrong_with_brokers_that_went_and_came_back_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "kafka_faults", Kafka(iter([[NO_TOPIC]])).ask)

    async def connect() -> None:
        raise KafkaConnectionError("Unable to bootstrap")

    monkeypatch.setattr(module, "_SOON_SECONDS", 0)
    with pytest.raises(KafkaNotReady, match="topic t does not exist"):
        await module._connected(connect, Settings(), Health(60, 60))


async def test_silence_is_waited_for_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await start(monkeypatch, (1000, [AWAY]))).seconds > 3600


async def test_what_answers_otherwise_is_given_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await start(monkeypatch, (20, [STARTS, AWAY]))).asked == 21
    with pytest.raises(KafkaNotReady, match="speaks PLAINTEXT"):
        await start(monkeypatch, (30, [STARTS]))


async def test_the_two_minutes_begin_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    spells = [(100, [AWAY]), (20, [STARTS]), (100, [AWAY]), (20, [STARTS])]
    assert (await start(monkeypatch, *spells)).asked == 241


async def test_what_no_waiting_mends_ends_the_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaNotReady, match="topic t does not exist"):
        await start(monkeypatch, (1, [AWAY, NO_TOPIC]))
