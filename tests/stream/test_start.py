"""A start waits for brokers that are away, and for nothing else."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
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
