"""The planner's bench: what it makes of turns that were measured."""

import random

import pytest

from worker.bench.free_guard import COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS
from worker.bench.plan import Turn, compared
from worker.local.stress_tally import Passage

ALONE = 0.005 + COSTLY_BATCH_SECONDS + COSTLY_CHECK_SECONDS  # seconds with the wait for company


def turn(device_seconds: float, rng: random.Random) -> Turn:
    """Events that do not meet each other; the stream takes 10 to 30 ms before and 5 after."""
    sent = [float(number) for number in range(300)]
    decided = [at + rng.uniform(0.01, 0.03) + device_seconds for at in sent]
    return [Passage(at, then, then + 0.005) for at, then in zip(sent, decided, strict=True)]


def test_a_stream_and_a_device_that_add_up_are_found_alike() -> None:
    rng = random.Random(0)
    free = [turn(0.0, rng) for _ in range(3)]
    found = compared(0.01, free, [turn(ALONE, rng) for _ in range(3)], 0.5)
    assert found.replayed_ratio == pytest.approx(1, rel=0.02)
    assert found.drawn_ratio == pytest.approx(1, rel=0.02)
    assert found.throughput_ratio == pytest.approx(1, rel=0.02)
    assert "load average 0.5" in str(found)
    assert "(1.00)" in str(found)


def test_a_worker_that_takes_longer_is_told() -> None:
    rng = random.Random(0)
    found = compared(0.01, [turn(0.0, rng)], [turn(2 * ALONE, rng)], 0.5)
    assert found.replayed_ratio < 0.8 and found.drawn_ratio < 0.8
