"""A guard's lane: when batches leave, what is in them, and who gets which finding. The test holds the device."""

import asyncio
from typing import Any

import pytest

from tests.moderation.lane_rig import Lane, metric, scores, settle
from worker.guards.guard import Finding
from worker.guards.runner import DeviceLost

# -- when a batch leaves


async def test_a_lone_check_waits_for_company_while_the_guard_is_idle() -> None:
    lane = Lane()
    task = await lane.judge((10, 0.1))
    assert lane.device.batches == []
    task.give_up()


async def test_the_wait_ends_by_itself() -> None:
    lane = Lane(max_wait=0.005)
    first = await lane.judge((10, 0.1))
    second = await lane.judge((10, 0.2))
    assert lane.device.batches == []  # the clock stands still
    lane.clock.now += 0.005
    async with asyncio.timeout(60):
        await lane.device.sent.wait()
    assert lane.device.payloads == [[0.1, 0.2]]
    await lane.device.land()
    assert (scores(first), scores(second)) == ([0.1], [0.2])


async def test_without_a_wait_a_check_leaves_at_once() -> None:
    lane = Lane(max_wait=0.0)
    await lane.judge((10, 0.1))
    assert lane.device.payloads == [[0.1]]


async def test_a_full_batch_does_not_wait() -> None:
    lane = Lane(budget=30)
    await lane.judge((10, 0.1), (10, 0.2))
    assert lane.device.batches == []
    await lane.judge((10, 0.3))
    assert lane.device.payloads == [[0.1, 0.2, 0.3]]


async def test_a_batch_grows_while_the_guard_is_busy() -> None:
    lane = Lane(max_wait=0.0)
    await lane.judge((10, 0.1))
    for payload in (0.2, 0.3, 0.4):
        lane.clock.now += 1
        await lane.judge((10, payload))
    assert lane.device.payloads == [[0.1]]
    await lane.device.land()
    assert lane.device.payloads == [[0.1], [0.2, 0.3, 0.4]]


async def test_one_batch_is_on_the_device_one_in_its_queue_and_never_a_third() -> None:
    lane = Lane(budget=20, max_wait=0.0)
    await lane.judge((10, 0.1))
    assert len(lane.device.boards) == 1
    await lane.judge(*[(10, 0.2)] * 9)
    for landed in range(5):
        assert len(lane.device.boards) == landed + 2
        await lane.device.land()
    assert [len(batch) for batch in lane.device.batches] == [1, 2, 2, 2, 2, 1]
    await lane.device.land()
    assert len(lane.device.boards) == 6


async def test_a_check_that_came_while_the_guard_was_busy_waits_for_no_company() -> None:
    lane = Lane(budget=20)
    await lane.judge((10, 0.1), (10, 0.2))
    await lane.judge((10, 0.3))
    await lane.device.land()
    assert lane.device.payloads == [[0.1, 0.2], [0.3]]
    await lane.device.land()
    alone = await lane.judge((10, 0.4))
    assert len(lane.device.boards) == 2  # the guard is idle again
    alone.give_up()


async def test_a_batch_grows_while_another_guard_has_the_device() -> None:
    lane = Lane(budget=40, max_wait=0.0)
    lane.device.submit(None, list)
    for payload in (0.1, 0.2, 0.3):
        await lane.judge((10, payload))
    assert lane.device.payloads == [[]]
    await lane.device.land()
    assert lane.device.payloads == [[], [0.1, 0.2, 0.3]]


# -- who gets what


async def test_the_findings_of_an_event_come_in_the_order_of_its_checks_over_several_batches() -> None:
    lane = Lane(budget=60, max_wait=0.0)
    event = await lane.judge((50, 0.1), (10, 0.2), (30, 0.3), (11, 0.4), (60, 0.5))
    while not event.done:
        await lane.device.land()
    assert len(lane.device.batches) > 2
    assert scores(event) == [0.1, 0.2, 0.3, 0.4, 0.5]


async def test_an_event_has_started_when_its_first_check_has_left() -> None:
    lane = Lane(budget=20)
    late = await lane.judge((10, 0.1))
    assert not late.request.started
    early = await lane.judge((10, 0.2), (20, 0.3))
    assert lane.device.payloads == [[0.1, 0.2]]
    assert (early.request.started, late.request.started) == (True, True)
    assert lane.told_started == [late.request, early.request]
    waiting = await lane.judge((5, 0.4))
    assert not waiting.request.started


async def test_cancelled_work_does_not_reach_the_guard() -> None:
    lane = Lane(budget=40)
    gone = await lane.judge((10, 0.1), (10, 0.2))
    gone_too = await lane.judge((10, 0.3))
    gone.give_up()
    gone_too.give_up()
    await settle()
    stays = await lane.judge((10, 0.4))
    assert lane.device.payloads == [[0.4]]
    assert not gone.request.started
    await lane.device.land()
    assert scores(stays) == [0.4]
    assert not gone.done


async def test_where_all_of_a_batch_was_cancelled_nothing_leaves_and_the_next_does() -> None:
    lane = Lane(budget=10)
    blocking = [await lane.judge((10, 0.1)), await lane.judge((10, 0.2))]
    gone = await lane.judge((10, 0.3))
    stays = await lane.judge((10, 0.4))
    gone.give_up()
    await lane.device.land()
    await lane.device.land()
    assert lane.device.payloads == [[0.1], [0.2], [0.4]]
    await lane.device.land()
    assert scores(stays) == [0.4]
    assert blocking[0].done


async def test_where_everything_was_cancelled_an_empty_batch_changes_nothing() -> None:
    lane = Lane(budget=10)
    await lane.judge((10, 0.1))
    gone = await lane.judge((10, 0.2))
    gone.give_up()
    await lane.device.land()
    assert lane.device.payloads == [[0.1], []]
    await lane.device.land()
    stays = await lane.judge((10, 0.3))
    await lane.device.land()
    assert scores(stays) == [0.3]


async def test_work_cancelled_in_the_air_leaves_its_neighbours_their_findings() -> None:
    lane = Lane(budget=20)
    gone, stays = await lane.judge((10, 0.1)), await lane.judge((10, 0.2))
    assert len(lane.device.batches) == 1
    gone.give_up()
    await settle()
    await lane.device.land()
    assert scores(stays) == [0.2]
    assert not gone.done


async def test_a_lost_device_is_raised_to_everyone_in_the_batch_and_the_lane_goes_on() -> None:
    lane = Lane(budget=30)
    several, other = await lane.judge((10, 0.1), (10, 0.2)), await lane.judge((10, 0.3))
    await lane.device.land(DeviceLost("gone"))
    for task in (several, other):
        with pytest.raises(DeviceLost):
            await task.findings()
    later = await lane.judge((30, 0.4))
    await lane.device.land()
    assert scores(later) == [0.4]


async def test_a_device_thread_that_closes_with_work_left_says_so() -> None:
    lane = Lane(budget=10)
    running, queued = await lane.judge((10, 0.1)), await lane.judge((10, 0.2), (10, 0.3))
    assert lane.device.futures[1].cancel()
    lane.device.futures[1].set_running_or_notify_cancel()
    with pytest.raises(RuntimeError, match="closed with work left"):
        await queued.findings()
    assert not running.done


async def test_the_time_of_a_batch_is_that_on_the_device() -> None:
    lane = Lane(budget=80)
    names = ["batches_total", "batch_seconds_total", "batch_tokens_total", "batch_padded_tokens_total"]
    names += ["batch_budget_tokens_total"]
    before = [metric(f"moderation_{name}") for name in names]
    await lane.judge((30, 0.1), (28, 0.1), (25, 0.1))
    lane.clock.now += 100  # in the queue
    await lane.device.land()
    assert len(lane.device.batches[0]) == 2
    found = [metric(f"moderation_{name}") - earlier for name, earlier in zip(names, before, strict=True)]
    assert found == [1, 2.0, 58, 60, 80]


# -- what must not leave an event without an answer


@pytest.mark.parametrize("findings", [[None, Finding(0.1)], [Finding(0.1), "safe"]])
async def test_what_is_no_finding_fails_the_events_of_its_batch_and_the_lane_goes_on(findings: list[Any]) -> None:
    lane = Lane(budget=20)
    events = [await lane.judge((10, 0.1)), await lane.judge((10, 0.2))]
    await lane.device.land(findings=findings)
    for event in events:
        with pytest.raises(AttributeError):
            await event.findings()
    later = await lane.judge((20, 0.3))
    await lane.device.land()
    assert scores(later) == [0.3]


async def test_a_batch_that_cannot_be_put_together_fails_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(budget=10)

    def broken(*_of: object) -> None:
        raise ZeroDivisionError

    on_device, waits = await lane.judge((10, 0.1)), await lane.judge((10, 0.2))
    with monkeypatch.context() as patched:
        patched.setattr(lane.lane._budget, "holds", broken)
        await lane.device.land()
    assert scores(on_device) == [0.1]
    with pytest.raises(ZeroDivisionError):
        await waits.findings()
    later = await lane.judge((10, 0.3))
    await lane.device.land()
    assert scores(later) == [0.3]
