"""Content whose key takes long to find: a thread does it, and the event is judged as any other."""

import asyncio
import threading
from typing import Any

import pytest

from tests.fakes import fake_llama_guard
from tests.moderation.test_cached_verdicts import event, moderating
from worker.moderation.content_key import content_key


async def test_large_content_is_judged_once_too_and_keyed_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = threading.get_ident()
    keyed: list[bool] = []

    def key(*of: Any) -> bytes:
        keyed.append(threading.get_ident() == loops)
        return content_key(*of)

    monkeypatch.setattr("worker.moderation.moderator.content_key", key)
    large, small = event("x" * 600_000), event("x")
    async with moderating(fake_llama_guard()) as judge:
        verdicts = [await judge(each) for each in (large, small, large, small)]
        verdicts += await asyncio.gather(*judge.start(large, large))
    assert [verdict.cached for verdict in verdicts] == [False, False, True, True, True, True]
    assert keyed == [False, True, False, True, False, False]


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_given_up_while_its_key_is_found_is_not_judged(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def key(*of: Any) -> bytes:
        first = not began.is_set()
        began.set()
        assert go_on.wait(20)
        if fails and first:
            raise MemoryError
        return content_key(*of)

    monkeypatch.setattr("worker.moderation.moderator.content_key", key)
    async with moderating(fake_llama_guard()) as judge:
        told: list[object] = []
        request = judge.request(event("x" * 600_000))
        request.then = told.extend
        judge.moderator.judge_all([request])
        assert await asyncio.to_thread(began.wait, 20)
        judge.moderator.give_up(request)
        go_on.set()
        assert not (await judge(event("x" * 600_000))).cached
        assert (len(judge.judged), told) == (1, [])


async def test_a_key_that_cannot_be_found_fails_its_event_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_of: Any) -> bytes:
        raise MemoryError

    async with moderating(fake_llama_guard()) as judge:
        with monkeypatch.context() as patched:
            patched.setattr("worker.moderation.moderator.content_key", fail)
            for text in ("x", "x" * 600_000):
                with pytest.raises(MemoryError):
                    await judge(event(text))
        assert not (await judge(event("x"))).cached
