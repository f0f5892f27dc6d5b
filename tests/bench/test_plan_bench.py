"""The planner's bench: what it makes of turns that were measured."""

import random

import pytest

from worker.bench.device_cost import DeviceCost
from worker.bench.free_guard import COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS
from worker.bench.plan import Turn, compared
from worker.local.stress_tally import Passage

EXACT = DeviceCost({"llama_guard": COSTLY_BATCH_SECONDS, "prompt_guard": 0.0}, 0.0)
ALONE = 0.005 + COSTLY_BATCH_SECONDS + COSTLY_CHECK_SECONDS  # seconds with the wait for company


def turn(device_seconds: float, rng: random.Random) -> Turn:
    """Events that do not meet each other; the stream takes 10 to 30 ms before and 5 after."""
    sent = [float(number) for number in range(300)]
    decided = [at + rng.uniform(0.01, 0.03) + device_seconds for at in sent]
    return [Passage(at, then, then + 0.005) for at, then in zip(sent, decided, strict=True)]


def test_a_stream_and_a_device_that_add_up_are_found_alike() -> None:
    rng = random.Random(0)
    free = [turn(0.0, rng) for _ in range(3)]
    found = compared(0.01, free, [turn(ALONE, rng) for _ in range(3)], EXACT, 0.5)
    assert found.replayed_ratio == pytest.approx(1, rel=0.02)
    assert found.drawn_ratio == pytest.approx(1, rel=0.02)
    assert found.throughput_ratio == pytest.approx(1, rel=0.02)
    assert "load average 0.5" in str(found)
    assert "(1.00)" in str(found)


def test_a_worker_that_takes_longer_is_told() -> None:
    rng = random.Random(0)
    found = compared(0.01, [turn(0.0, rng)], [turn(2 * ALONE, rng)], EXACT, 0.5)
    assert found.replayed_ratio < 0.8 and found.drawn_ratio < 0.8


def test_what_the_machine_adds_to_a_batch_is_part_of_the_simulation() -> None:
    rng = random.Random(0)
    slower = DeviceCost({"llama_guard": COSTLY_BATCH_SECONDS + 0.02, "prompt_guard": 0.0}, 0.01)
    costly = [turn(ALONE + 0.04, rng) for _ in range(3)]
    found = compared(0.01, [turn(0.0, rng) for _ in range(3)], costly, slower, 0.5)
    assert found.replayed_ratio == pytest.approx(1, rel=0.02)
    assert "50.0 ms instead of 30, and 10.0 ms after" in str(found)


PAGE = """
moderation_batch_seconds_total{{guard="llama_guard"}} {seconds}
moderation_batch_seconds_total{{guard="prompt_guard"}} {seconds}
moderation_batches_total{{guard="llama_guard"}} {batches}
moderation_batches_total{{guard="prompt_guard"}} {batches}
moderation_batch_checks_total{{guard="llama_guard"}} {checks}
moderation_batch_checks_total{{guard="prompt_guard"}} {checks}
moderation_device_handover_seconds_total {handover}
"""


def test_a_devices_cost_is_what_happened_between_two_looks() -> None:
    before = PAGE.format(seconds=100, batches=50, checks=500, handover=7)
    after = PAGE.format(seconds=104, batches=60, checks=600, handover=7.2)
    found = DeviceCost.between(before, after, {"llama_guard": 0.002, "prompt_guard": 0.0})
    assert found.batch == pytest.approx({"llama_guard": (4 - 100 * 0.002) / 10, "prompt_guard": 0.4})
    assert found.handover == pytest.approx(0.2 / 20)
    mean = DeviceCost.mean([found, DeviceCost({"llama_guard": 0.02, "prompt_guard": 0.0}, 0.03)])
    assert mean.batch == pytest.approx({"llama_guard": 0.2, "prompt_guard": 0.2})
    assert mean.handover == pytest.approx(0.02)


def test_a_guard_that_judged_nothing_has_no_cost() -> None:
    page = PAGE.format(seconds=1, batches=1, checks=1, handover=0)
    with pytest.raises(ValueError, match="no batch of llama_guard"):
        DeviceCost.between(page, page, {"llama_guard": 0.0})
