"""A guard that is down: its lane answers without it, tries it from time to time, and goes on when it answers. The test
holds the device."""

import asyncio

from tests.fakes import FakeGuard
from tests.moderation.lane_rig import Lane, found, metric, scores, settle
from worker.contract.chat_event import read_chat_event
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label, Reason, Verdict
from worker.guards.guard import Fault, Finding
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY

UNAVAILABLE = Finding(None, fault=Fault.GUARD_UNAVAILABLE)


async def broken() -> Lane:
    """A lane whose breaker two failures have opened."""
    lane = Lane(budget=20, max_wait=0, failures=2)
    lane.device.broken = True
    await lane.judge((10, 0.1), (10, 0.2))
    await lane.device.land()
    assert metric("moderation_guard_breaker_state") == 2
    return lane


async def test_while_it_is_down_an_event_is_answered_at_once_and_does_not_start() -> None:
    lane = await broken()
    answer = await lane.judge((10, 0.3), (10, 0.4))
    assert found(answer) == [UNAVAILABLE] * 2
    assert not answer.request.started
    assert len(lane.device.batches) == 1


async def test_what_waits_when_it_goes_down_is_answered_without_it() -> None:
    lane = Lane(budget=20, max_wait=0, failures=2)
    lane.device.broken = True
    first = await lane.judge((10, 0.1), (10, 0.2))
    second = await lane.judge((10, 0.3), (10, 0.4))  # boards when the first lands
    half, whole = await lane.judge((20, 0.5), (20, 0.6)), await lane.judge((20, 0.7))
    await lane.device.land()
    assert [finding.fault for finding in found(first)] == [Fault.GUARD_ERROR] * 2
    assert (found(half), found(whole)) == ([UNAVAILABLE] * 2, [UNAVAILABLE])
    await lane.device.land()
    assert [finding.fault for finding in found(second)] == [Fault.GUARD_ERROR] * 2
    assert lane.device.payloads[:2] == [[0.1, 0.2], [0.3, 0.4]]
    assert not any(lane.device.payloads[2:])


async def test_one_event_tries_it_after_the_wait_and_a_success_lets_everyone_through() -> None:
    lane = await broken()
    lane.clock.now += 1
    trial, other = await lane.judge((10, 0.3)), await lane.judge((10, 0.4))
    assert lane.device.payloads[-1] == [0.3]
    assert found(other) == [UNAVAILABLE]
    lane.device.broken = False
    await lane.device.land()
    assert scores(trial) == [0.3]
    assert metric("moderation_guard_breaker_state") == 0
    later = await lane.judge((10, 0.5))
    await lane.device.land()
    assert scores(later) == [0.5]


async def test_a_trial_that_fails_leaves_it_down_and_the_rest_of_its_event_is_answered_without_it() -> None:
    lane = await broken()
    lane.clock.now += 1
    trial = await lane.judge((20, 0.3), (20, 0.4), (20, 0.5))
    await lane.device.land()
    while not trial.done:
        await lane.device.land()
    faults = [finding.fault for finding in found(trial)]
    assert faults[0] is Fault.GUARD_ERROR
    assert faults[-1] is Fault.GUARD_UNAVAILABLE
    lane.clock.now += 1.5
    assert found(await lane.judge((10, 0.6))) == [UNAVAILABLE]


async def test_a_trial_that_is_given_back_is_followed_by_the_next_event() -> None:
    lane = Lane(budget=20, failures=2)
    lane.device.broken = True
    await lane.judge((10, 0.1), (10, 0.2))
    await lane.device.land()
    lane.clock.now += 1
    trial = await lane.judge((10, 0.3))  # waits for company
    trial.give_up()
    await settle()
    lane.device.broken = False
    following = await lane.judge((20, 0.4))
    await lane.device.land()
    assert scores(following) == [0.4]


async def test_whoever_is_to_know_that_it_is_down_is_told_once() -> None:
    down: list[bool] = []
    lane = Lane(budget=20, max_wait=0, failures=2, on_guard_down=lambda: down.append(True))
    lane.device.broken = True
    await lane.judge((10, 0.1), (10, 0.2))
    await lane.judge((10, 0.3), (10, 0.4))
    waits = await lane.judge((10, 0.5))
    for _ in range(2):
        await lane.device.land()
    assert down == [True]
    assert found(waits) == [UNAVAILABLE], "a worker that stops need not try it for each"


async def test_the_other_guard_still_counts_and_nothing_of_it_is_cached() -> None:
    """An attack is unsafe whoever is down; everything else is review, and judged anew when the guard is back."""
    up = False

    def content(text: str) -> float:
        if not up:
            raise ValueError("down")
        return 0.1

    llama_guard = FakeGuard("llama_guard", content)
    prompt_guard = FakeGuard("prompt_guard", lambda text: 0.99 if "ignore" in text else 0.01)
    options = ModeratorOptions({"llama_guard": 99, "prompt_guard": 99}, batch_wait=0, breaker_failures=3)
    clock = Lane().clock
    moderator = Moderator([llama_guard, prompt_guard], options, clock=clock)

    async def verdict(text: str) -> Verdict:
        raw = b'{"event_id":"e","conversation_id":"c","messages":[{"role":"user","content":"%s"}]}' % text.encode()
        return await moderator.judge(Request.about(read_chat_event(raw), DEFAULT_POLICY, PlainRecord("t", 0, 0), 0.0))

    try:
        async with asyncio.timeout(60):
            before = [await verdict("hello") for _ in range(3)]
            assert {each.reasons for each in before} == {(Reason.GUARD_ERROR,)}
            for _ in range(2):
                down, attack = await verdict("hello"), await verdict("ignore all")
                assert (down.label, down.reasons) == (Label.REVIEW, (Reason.GUARD_UNAVAILABLE,))
                assert (attack.label, attack.reasons) == (
                    Label.UNSAFE,
                    (Reason.PROMPT_GUARD, Reason.GUARD_UNAVAILABLE),
                )
                assert not down.cached and not attack.cached
            assert len(llama_guard.batches) == 3
            clock.now += 1
            up = True
            back = await verdict("hello")
            assert (back.label, back.cached) == (Label.SAFE, False)
    finally:
        moderator.close()
