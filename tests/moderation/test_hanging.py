"""A guard that hangs, and a moderator that closes: nobody waits for ever."""

import asyncio
import threading

import pytest

from tests.fakes import fake_llama_guard, fake_prompt_guard
from tests.moderation.test_moderator import OPTIONS, event, moderating, request
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request


@pytest.mark.parametrize("hanging", ["llama_guard", "prompt_guard"])
async def test_whichever_guard_hangs_the_event_fails(hanging: str) -> None:
    released = threading.Event()

    def hang(_text: str) -> float:
        released.wait(60)
        return 0.1

    guards = [fake_llama_guard(), fake_prompt_guard()]
    guards[hanging == "prompt_guard"]._score_of = hang
    # The one that hangs goes first: the other waits behind it on the device, or has taken less than three seconds.
    options = ModeratorOptions({"llama_guard": 1, "prompt_guard": 1}, batch_wait=0, batch_timeout=3)
    async with moderating(guards, options) as moderator:
        try:
            with pytest.raises(DeviceLost, match=hanging):
                await moderator.judge(request(event()))
        finally:
            released.set()


@pytest.mark.parametrize("step", ["prepare", "judge"])
async def test_what_was_given_up_is_told_of_when_no_thread_is_at_it_any_more(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, let_go = threading.Event(), threading.Event(), list[Request]()
    guard = fake_llama_guard()
    does = getattr(guard, step)

    def slow(*args: object) -> object:
        began.set()
        go_on.wait(60)
        return does(*args)

    monkeypatch.setattr(guard, step, slow)
    moderator = Moderator([guard], OPTIONS, on_let_go=let_go.extend)
    try:
        asked = request(event("0"))
        moderator.judge_all([asked])
        assert await asyncio.to_thread(began.wait, 60)
        for _ in range(2):
            moderator.give_up(asked)
        assert (asked.held, let_go) == (True, [])
        go_on.set()
        async with asyncio.timeout(60):
            while asked.held:  # noqa: ASYNC110  # the thread comes back
                await asyncio.sleep(0.001)
        assert let_go == [asked]
    finally:
        go_on.set()
        moderator.close()


async def test_after_close_nobody_waits_for_ever() -> None:
    moderator = Moderator([fake_llama_guard()], OPTIONS)
    waiting = [asyncio.create_task(moderator.judge(request(event(text)))) for text in ("0", "1", "2", "2")]
    await asyncio.sleep(0)
    moderator.close()
    done, pending = await asyncio.wait(waiting, timeout=60)
    assert not pending
    assert all(task.cancelled() or task.exception() for task in done)
