"""A guard's lane and its device: checks that fail, batches that hang, a device that is lost."""

import asyncio

import pytest

from tests.fakes import FakeGuard
from tests.moderation.lane_rig import LONG, Asked, Lane, scores
from worker.guards.guard import Check, Fault, Finding
from worker.guards.runner import DeviceLost, DeviceThread
from worker.moderation.guard_lane import GuardLane
from worker.moderation.request import tell


async def test_one_bad_check_does_not_disturb_its_neighbours() -> None:
    def score_of(text: str) -> float:
        if text == "bad":
            raise ValueError(text)
        return float(text)

    device = DeviceThread()
    try:
        lane = GuardLane(FakeGuard(score_of=score_of), device, tell, batch_tokens=80, max_wait=LONG)
        texts = ["0.1", "0.2", "bad", "0.4", "0.5", "0.6", "0.7", "0.8"]
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(Asked(lane, Check(10, text)).findings() for text in texts))
    finally:
        device.close()
    found = {text: finding for text, (finding,) in zip(texts, answers, strict=True)}
    assert found.pop("bad") == Finding(None, fault=Fault.GUARD_ERROR)
    assert {text: finding.score for text, finding in found.items()} == {text: float(text) for text in found}


async def test_a_batch_that_hangs_on_the_device_fails_its_events() -> None:
    lane = Lane(budget=100, max_wait=0, timeout=0.001)
    hangs = await lane.judge((10, 0.1))
    with pytest.raises(DeviceLost, match=r"llama_guard: a batch has not come back for 0\.001 s"):
        await hangs.findings()
    await lane.device.land()  # it comes back after all: nobody waits any more
    assert len(lane.device.batches) == 1


async def test_what_the_device_is_at_is_known_until_it_comes_back() -> None:
    lane = Lane(budget=10, max_wait=0)
    first, second = await lane.judge((10, 0.1)), await lane.judge((10, 0.2))
    first.give_up()
    assert (lane.lane.holds(first.request), lane.lane.holds(second.request)) == (True, False)
    await lane.device.land()
    assert (lane.lane.holds(first.request), lane.lane.holds(second.request)) == (False, True)
    await lane.device.land(RuntimeError("a bug"))
    assert not lane.lane.holds(second.request)


async def test_a_batch_that_hangs_is_told_of_though_nobody_waits_for_it_any_more() -> None:
    lane = Lane(budget=10, max_wait=0, timeout=0.001)
    hangs = await lane.judge((10, 0.1))
    hangs.give_up()  # its partition was taken away
    async with asyncio.timeout(60):
        while not lane.told_of_device:  # noqa: ASYNC110  # a timer rings
            await asyncio.sleep(0.001)
    assert [type(each) for each in lane.told_of_device] == [DeviceLost]
    assert lane.lane.holds(hangs.request)


async def test_a_lost_device_is_told_of_while_it_is_known_who_was_on_it() -> None:
    lane = Lane(budget=10, max_wait=0)
    (await lane.judge((10, 0.1))).give_up()
    lost = DeviceLost("gone")
    await lane.device.land(lost)
    assert lane.told_of_device == [lost, "landed"]


async def test_while_a_batch_hangs_whoever_comes_is_told_though_its_own_events_were_given_back() -> None:
    lane = Lane(budget=10, max_wait=0, timeout=0.01)
    hangs = await lane.judge((10, 0.1))
    waits = await lane.judge((10, 0.2))  # for the device
    hangs.give_up()  # its partition was taken away
    with pytest.raises(DeviceLost, match="has not come back"):
        await waits.findings()
    comes_later = await lane.judge((10, 0.3))
    with pytest.raises(DeviceLost, match="has not come back"):
        await comes_later.findings()


async def test_a_batch_that_comes_back_in_time_is_not_watched_any_more() -> None:
    lane = Lane(budget=100, max_wait=0, timeout=3)
    quick = await lane.judge((10, 0.1))
    await lane.device.land()
    slow = await lane.judge((10, 0.2))
    assert scores(quick) == [0.1]
    with pytest.raises(DeviceLost):
        await slow.findings()
