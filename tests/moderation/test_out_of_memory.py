"""Out of memory, from the device to the verdicts: everyone else is judged, the batches become smaller and recover."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.fakes import FakeGuard, fake_prompt_guard
from tests.moderation.lane_rig import Lane, metric
from worker.batching import token_budget
from worker.contract.chat_event import ChatEvent
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label, Reason, Verdict
from worker.guards.guard import Check, Finding
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY

# -- the lane


async def test_an_out_of_memory_halves_the_batches_that_follow_and_is_told() -> None:
    lane = Lane(budget=80)
    await lane.judge(*[(10, 0.1)] * 24)
    assert metric("moderation_present_budget_tokens") == 80
    with capture_logs() as lines:
        await lane.device.land(out_of_memory=80)
        await lane.device.land(passed=80)  # it boarded before that was known
        await lane.device.land(passed=40)
    assert [len(batch) for batch in lane.device.batches] == [8, 8, 4, 4]
    assert metric("moderation_present_budget_tokens") == 40
    assert lines == [
        {
            "event": "batch_budget_changed",
            "log_level": "warning",
            "guard": "llama_guard",
            "tokens": 40,
            "before": 80,
            "setting": 80,
        }
    ]


async def test_batches_that_pass_bring_the_budget_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "_PATIENCE", 1)
    lane = Lane(budget=80)
    await lane.judge(*[(10, 0.1)] * 300)
    await lane.device.land(out_of_memory=80)
    with capture_logs() as lines:
        while metric("moderation_present_budget_tokens") < 80:
            await lane.device.land(passed=len(lane.device.batches[-1]) * 10)
    sizes = [len(batch) for batch in lane.device.batches]
    assert (sizes[0], sizes[2]) == (8, 4)
    assert sizes[2:-1] == sorted(sizes[2:-1])
    assert {line["log_level"] for line in lines} == {"info"}
    assert lines[-1]["tokens"] == 80


async def test_a_check_that_is_too_large_alone_leaves_the_budget() -> None:
    lane = Lane(budget=80)
    await lane.judge(*[(10, 0.1)] * 16)
    await lane.device.land(out_of_memory=None, passed=40)
    assert metric("moderation_present_budget_tokens") == 80


# -- the whole moderator

BUDGET = 64  # eight events of 8 tokens


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class SmallDevice(FakeGuard):
    """Judges three checks at once and no more; "huge" is too much even alone. Every check costs 8 tokens."""

    rows = 3

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        if len(checks) > self.rows or any(check.payload.startswith("huge") for check in checks):
            self.batches.append([check.payload for check in checks])
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().judge(checks)


def text_of(number: int) -> str:
    return f"{'huge' if number == 13 else 'evil' if number % 5 == 0 else 'nice'} {number:025}"  # of one length


def small_device() -> SmallDevice:
    return SmallDevice("llama_guard", lambda text: Finding(0.9, ("S9",), {"S9": 0.9}) if "evil" in text else 0.1)


@asynccontextmanager
async def moderating(guard: FakeGuard) -> AsyncIterator[Moderator]:
    options = ModeratorOptions({"llama_guard": BUDGET, "prompt_guard": 10_000}, batch_wait=0.0)
    moderator = Moderator([guard, fake_prompt_guard()], options)
    try:
        async with asyncio.timeout(60):
            yield moderator
    finally:
        moderator.close()


async def verdicts_of(moderator: Moderator, numbers: Sequence[int]) -> list[Verdict]:
    def judging(number: int) -> "asyncio.Future[Verdict]":
        messages = [{"role": "user", "content": text_of(number)}]
        fields = {"event_id": f"e{number}", "conversation_id": "c", "messages": messages}
        event = ChatEvent.model_validate(fields)
        return asyncio.ensure_future(
            moderator.judge(Request.about(event, DEFAULT_POLICY, PlainRecord("t", 0, number), 0.0))
        )

    return list(await asyncio.gather(*map(judging, numbers)))


async def test_out_of_memory_costs_nobody_but_the_culprit_its_verdict() -> None:
    guard, splits = small_device(), metric("moderation_out_of_memory_splits_total")
    async with moderating(guard) as moderator:
        verdicts = await verdicts_of(moderator, range(200))
    assert [verdict.event_id for verdict in verdicts] == [f"e{number}" for number in range(200)]
    for number, verdict in enumerate(verdicts):
        if number == 13:
            assert (verdict.label, verdict.reasons) == (Label.REVIEW, (Reason.TOO_LARGE,))
        else:
            assert verdict.label is (Label.UNSAFE if number % 5 == 0 else Label.SAFE)
            assert verdict.violated_categories == (("S9",) if number % 5 == 0 else ())
    assert metric("moderation_out_of_memory_splits_total") > splits
    assert 16 <= metric("moderation_present_budget_tokens") <= 24  # two or three checks
    assert max(map(len, guard.batches[-20:])) <= 3


async def test_when_memory_is_back_the_batches_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "_PATIENCE", 1)
    guard = small_device()
    async with moderating(guard) as moderator:
        await verdicts_of(moderator, range(50))
        assert metric("moderation_present_budget_tokens") < BUDGET
        guard.rows = 1000
        recovered = await verdicts_of(moderator, range(1000, 3000))
    assert {verdict.label for verdict in recovered} == {Label.SAFE, Label.UNSAFE}
    assert metric("moderation_present_budget_tokens") == BUDGET
    assert max(map(len, guard.batches[-20:])) == 8


async def test_a_message_that_is_always_too_large_does_not_make_everyones_batches_small() -> None:
    guard = small_device()
    guard.rows = 1000
    async with moderating(guard) as moderator:
        verdicts = await verdicts_of(moderator, [13, *range(20)] * 5)
    assert [verdict.label for verdict in verdicts].count(Label.REVIEW) == 10
    assert metric("moderation_present_budget_tokens") == BUDGET
