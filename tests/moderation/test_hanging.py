"""A guard that hangs, and a moderator that closes: nobody waits for ever."""

import asyncio
import threading

import pytest

from tests.fakes import fake_llama_guard, fake_prompt_guard
from tests.moderation.test_moderator import OPTIONS, ORIGIN, event, moderating
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator, ModeratorOptions
from worker.policy.policy import DEFAULT_POLICY


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
                await moderator.judge(event(), DEFAULT_POLICY, ORIGIN, arrived=99.5)
        finally:
            released.set()


async def test_after_close_nobody_waits_for_ever() -> None:
    moderator = Moderator([fake_llama_guard()], OPTIONS)
    waiting = [asyncio.create_task(moderator.judge(event(str(n)), DEFAULT_POLICY, ORIGIN, 0.0)) for n in range(3)]
    await asyncio.sleep(0)
    moderator.close()
    done, pending = await asyncio.wait(waiting, timeout=60)
    assert not pending
    assert all(task.cancelled() or task.exception() for task in done)
