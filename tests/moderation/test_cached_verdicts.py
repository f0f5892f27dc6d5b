"""Identical content through the whole moderator: judged once, and every verdict is its own event's."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest

from tests.fakes import FakeGuard, fake_llama_guard, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label, Reason, Verdict, spelled_id_of
from worker.guards.guard import Check, Fault, Finding, Preparation
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY, Policy

OPTIONS = ModeratorOptions(batch_tokens={"llama_guard": 1000, "prompt_guard": 1000}, batch_wait=0.0)
BAND = Policy(name="band", review_band=(0.4, 0.6))
UNSAFE = Finding(0.9, ("S1", "S9"), {"S1": 0.7, "S9": 0.2})


def event(content: Any = "hi", **fields: Any) -> ChatEvent:
    messages = [{"role": "user", "content": content}]
    return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": messages, **fields})


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Judge:
    """A moderator with fake guards, and a source of its own for each event."""

    def __init__(self, guards: Sequence[FakeGuard], options: ModeratorOptions) -> None:
        self.clock, self._guards, self._sent = HandClock(), guards, 0
        self.moderator = Moderator(guards, options, clock=self.clock, now=lambda: datetime(2026, 5, 1, tzinfo=UTC))

    def request(self, given: ChatEvent, policy: Policy = DEFAULT_POLICY) -> Request:
        self._sent += 1
        return Request.about(given, policy, PlainRecord("t", 0, self._sent), self.clock.now - 0.25)

    async def __call__(self, given: ChatEvent, policy: Policy = DEFAULT_POLICY) -> Verdict:
        return await self.moderator.judge(self.request(given, policy))

    def start(self, *events: ChatEvent, **keywords: Any) -> list["asyncio.Task[Verdict]"]:
        return [asyncio.create_task(self(each, **keywords)) for each in events]

    @property
    def judged(self) -> list[str]:
        """The texts that the first guard judged, in their order."""
        return list(chain(*self._guards[0].batches))


@asynccontextmanager
async def moderating(*guards: FakeGuard, options: ModeratorOptions = OPTIONS) -> AsyncIterator[Judge]:
    judge = Judge(guards, options)
    try:
        async with asyncio.timeout(60):
            yield judge
    finally:
        judge.moderator.close()


class Hold:
    """A score that waits until the test opens it. Counts who has come to it."""

    def __init__(self, answer: float | Finding = 0.0) -> None:
        self.reached, self._open, self._answer = threading.Event(), threading.Event(), answer

    def __call__(self, text: str) -> float | Finding:
        self.reached.set()
        assert self._open.wait(20)
        return self._answer

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 20)

    def open(self) -> None:
        self._open.set()


# -- once, and its own


async def test_identical_content_is_judged_once_and_says_so() -> None:
    async with moderating(fake_llama_guard(lambda text: UNSAFE), fake_prompt_guard(lambda text: 0.25)) as judge:
        first, second = await judge(event()), await judge(event())
        assert judge.judged == ["hi"]
    assert (first.cached, second.cached) == (False, True)
    apart = {"verdict_id": "", "source": None, "cached": False}
    assert {**vars(first), **apart} == {**vars(second), **apart}
    assert second.violated_categories == ("S1", "S9")


async def test_identical_content_at_the_same_moment_is_judged_once() -> None:
    async with moderating(fake_llama_guard(), fake_prompt_guard()) as judge:
        verdicts = await asyncio.gather(*judge.start(*[event()] * 100))
        assert judge.judged == ["hi"]
    assert [verdict.cached for verdict in verdicts] == [False] + [True] * 99
    assert len({verdict.verdict_id for verdict in verdicts}) == 100


async def test_a_cached_verdict_is_its_own_events() -> None:
    first = event(tenant="one", metadata={"a": 1})
    second = event(event_id="e2", conversation_id="c2", tenant="two", metadata={"b": 2})
    async with moderating(fake_llama_guard()) as judge:
        await judge(first)
        judge.clock.now += 10
        verdict = await judge(second)
    assert verdict.cached
    assert (verdict.event_id, verdict.conversation_id, verdict.tenant) == ("e2", "c2", "two")
    assert verdict.metadata == {"b": 2}
    assert (verdict.source.offset, verdict.verdict_id) == (2, spelled_id_of("t", 0, 2, 0))
    assert verdict.latency_ms == 250.0


async def test_a_policy_never_answers_for_another() -> None:
    policies = [DEFAULT_POLICY, Policy(name="twin"), Policy(name="lenient", unsafe_threshold=0.95)]
    async with moderating(fake_llama_guard(lambda text: UNSAFE)) as judge:
        verdicts = [await judge(event(), policy) for policy in policies * 2]
        assert judge.judged == ["hi"] * 3
    assert [verdict.label.value for verdict in verdicts] == ["unsafe", "unsafe", "safe"] * 2
    assert [verdict.cached for verdict in verdicts] == [False] * 3 + [True] * 3
    assert [verdict.policy.name for verdict in verdicts] == ["default", "twin", "lenient"] * 2


async def test_context_and_role_are_content() -> None:
    hello = {"role": "user", "content": "hi"}
    conversations = [
        [hello],
        [hello, hello],
        [{"role": "assistant", "content": "yes?"}, hello],
        [{"role": "system", "content": "be nice"}, hello],
        [{"role": "tool", "content": "hi"}],
        [{"role": "assistant", "content": "hi"}],
    ]
    async with moderating(fake_llama_guard()) as judge:
        verdicts = [await judge(event(messages=messages)) for messages in conversations]
    assert not any(verdict.cached for verdict in verdicts)


async def test_zero_bytes_switch_it_all_off() -> None:
    options = replace(OPTIONS, verdict_cache_bytes=0)
    async with moderating(fake_llama_guard(), options=options) as judge:
        verdicts = [await judge(event()), *await asyncio.gather(*judge.start(event(), event()))]
        assert judge.judged == ["hi"] * 3
    assert not any(verdict.cached for verdict in verdicts)


# -- what no other event's verdict may answer


async def test_review_is_judged_each_time_and_carries_its_own_event() -> None:
    options = replace(OPTIONS, event_in_review_verdicts=True)
    async with moderating(fake_llama_guard(lambda text: Finding(0.5, ("S1",))), options=options) as judge:
        events = [event(event_id=f"e{number}") for number in range(5)]
        verdicts = [await judge(events[0], BAND), *await asyncio.gather(*judge.start(*events[1:], policy=BAND))]
        assert judge.judged == ["hi"] * 5
    assert {verdict.label for verdict in verdicts} == {Label.REVIEW}
    assert not any(verdict.cached for verdict in verdicts)
    assert [verdict.event for verdict in verdicts] == events


async def test_only_review_verdicts_carry_the_event_and_a_cached_one_is_none() -> None:
    options = replace(OPTIONS, event_in_review_verdicts=True)
    async with moderating(fake_llama_guard(), options=options) as judge:
        verdicts = [await judge(event()), await judge(event())]
    assert [verdict.event for verdict in verdicts] == [None, None]


async def test_after_a_fault_the_guard_is_asked_again() -> None:
    answers = iter([Finding(None, fault=Fault.TOO_LARGE), UNSAFE])
    async with moderating(fake_llama_guard(lambda text: next(answers))) as judge:
        verdicts = [await judge(event()) for _ in range(3)]
    assert [verdict.label.value for verdict in verdicts] == ["review", "unsafe", "unsafe"]
    assert [verdict.cached for verdict in verdicts] == [False, False, True]


async def test_a_fault_of_one_guard_is_not_kept_where_the_other_says_unsafe() -> None:
    answers = iter([Finding(None, fault=Fault.GUARD_ERROR), Finding(0.1)])
    async with moderating(
        fake_llama_guard(lambda text: UNSAFE), fake_prompt_guard(lambda text: next(answers))
    ) as judge:
        verdicts = [await judge(event()) for _ in range(3)]
    assert {verdict.label for verdict in verdicts} == {Label.UNSAFE}
    assert Reason.GUARD_ERROR in verdicts[0].reasons
    assert [verdict.cached for verdict in verdicts] == [False, False, True]


@pytest.mark.parametrize(("url", "judged"), [("https://example.com/a.png", 4), ("data:image/png;base64,AAAA", 1)])
@pytest.mark.parametrize("openai", [False, True])
async def test_a_picture_behind_an_address_is_judged_each_time(url: str, judged: int, openai: bool) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}} if openai else {"type": "image", "url": url}
    given = event([{"type": "text", "text": "hi"}, picture])
    async with moderating(fake_llama_guard()) as judge:
        for _ in range(2):
            await asyncio.gather(*judge.start(given, given))
        assert len(judge.judged) == judged


async def test_what_cannot_be_judged_is_so_for_each() -> None:
    async with moderating(fake_llama_guard()) as judge:
        given = event(messages=[{"role": "system", "content": "be nice"}])
        found = await asyncio.gather(*judge.start(given, given, given), return_exceptions=True)
        assert judge.judged == []
    assert all(isinstance(each, Unjudgeable) and each.error_type == "nothing_to_judge" for each in found)


async def test_a_lost_device_is_lost_for_all() -> None:
    def lose(text: str) -> float:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    async with moderating(fake_llama_guard(lose)) as judge:
        found = await asyncio.gather(*judge.start(event(), event(), event()), return_exceptions=True)
    assert all(isinstance(each, DeviceLost) for each in found)


# -- what has started and what is taken back


async def test_who_follows_has_not_started_and_may_be_taken_back_any_time() -> None:
    hold = Hold()
    async with moderating(fake_llama_guard(hold)) as judge:
        requests = [judge.request(event()) for _ in range(3)]
        tasks = [asyncio.create_task(judge.moderator.judge(request)) for request in requests]
        await hold.wait()
        assert [request.started for request in requests] == [True, False, False]
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        hold.open()
        first, third = await tasks[0], await tasks[2]
        assert judge.judged == ["hi"]
    assert (first.cached, third.cached) == (False, True)
    assert not requests[2].started  # the stream says when its verdict can no longer be given back


async def test_where_the_first_is_taken_back_the_next_one_starts() -> None:
    hold = Hold()
    async with moderating(fake_llama_guard(hold)) as judge:
        (busy,) = judge.start(event("busy"))
        await hold.wait()
        requests = [judge.request(event()) for _ in range(3)]
        tasks = [asyncio.create_task(judge.moderator.judge(request)) for request in requests]
        while not len(judge.moderator.panel.lanes[0]._batcher):  # noqa: ASYNC110  # it tells nobody that something is queued
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        hold.open()
        await busy
        second, third = await tasks[1], await tasks[2]
        assert judge.judged == ["busy", "hi"]
    assert tasks[0].cancelled()
    assert [request.started for request in requests] == [False, True, False]
    assert (second.cached, third.cached) == (False, True)


class Sized(FakeGuard):
    """A check of ten tokens an event; counts what is prepared."""

    prepared = 0

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        self.prepared += 1
        return Preparation([Check(10, event.messages[-1].text)])


async def test_who_follows_holds_no_preparation_that_another_needs() -> None:
    hold, options = Hold(), replace(OPTIONS, batch_tokens={"llama_guard": 10})  # four events are prepared ahead
    guard = Sized("llama_guard", hold)
    async with moderating(guard, options=options) as judge:
        tasks = judge.start(*[event("same")] * 200, *(event(str(number)) for number in range(50)))
        await hold.wait()
        assert guard.prepared <= 5
        hold.open()
        verdicts = await asyncio.gather(*tasks)
        assert guard.prepared == 51
    assert sum(verdict.cached for verdict in verdicts) == 199


async def test_followers_of_a_review_get_through_the_same_needle_eye() -> None:
    guard = Sized("llama_guard", lambda text: Finding(0.5, ("S1",)))
    async with moderating(guard, options=replace(OPTIONS, batch_tokens={"llama_guard": 10})) as judge:
        tasks = judge.start(*[event("same")] * 200, policy=BAND)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.wait(tasks)
    assert {task.result().label for task in tasks if not task.cancelled()} == {Label.REVIEW}
