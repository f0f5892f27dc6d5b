"""From an event to its verdict, with fake guards on the real threads."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.fakes import FAKE_MODEL, FakeGuard, fake_llama_guard, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.contract.schemas import schemas
from worker.contract.verdict import VERDICT, Label, ModelRef, Reason, Verdict, spelled_id_of
from worker.guards.guard import Check, Fault, Finding, ModelId, Preparation
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RECORD = PlainRecord("chat.events", 3, 812, 1_700_000_000_000)
OPTIONS = ModeratorOptions(batch_tokens={"llama_guard": 1000, "prompt_guard": 1000}, batch_wait=0.0)


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def event(text: str = "hi", role: str = "user", **fields: Any) -> ChatEvent:
    return ChatEvent.model_validate(
        {"event_id": "e", "conversation_id": "c", "messages": [{"role": role, "content": text}], **fields}
    )


def request(
    about: ChatEvent, policy: Policy = DEFAULT_POLICY, record: PlainRecord = RECORD, arrived: float = 100.0
) -> Request:
    return Request.about(about, policy, record, arrived)


@asynccontextmanager
async def moderating(guards: Sequence[FakeGuard], options: ModeratorOptions = OPTIONS) -> AsyncIterator[Moderator]:
    moderator = Moderator(guards, options, clock=HandClock(), now=lambda: NOW)
    try:
        async with asyncio.timeout(60):
            yield moderator
    finally:
        moderator.close()


async def judged(guards: Sequence[FakeGuard], policy: Policy = DEFAULT_POLICY, **fields: Any) -> Verdict:
    async with moderating(guards) as moderator:
        return await moderator.judge(Request.about(event(**fields), policy, RECORD, arrived=99.5))


async def test_a_verdict_says_all_that_there_is_to_say() -> None:
    finding = Finding(0.98765432, ("S9", "S1"), {"S9": 0.75, "S1": 0.12345678})
    models = (ModelId("meta/guard", "abc", stand_in=False), FAKE_MODEL)
    guards = [FakeGuard("llama_guard", lambda text: finding, models=models[:1]), fake_prompt_guard(lambda text: 0.25)]
    verdict = await judged(guards, tenant="acme", metadata={"channel": 7})
    assert json.loads(verdict.to_json()) == {
        "verdict_id": spelled_id_of("chat.events", 3, 812, 1_700_000_000_000),
        "event_id": "e",
        "conversation_id": "c",
        "tenant": "acme",
        "label": "unsafe",
        "reasons": ["llama_guard"],
        "explanation": "unsafe: Llama Guard P(unsafe) 0.9877 >= 0.5, S9 Indiscriminate Weapons 0.75, "
        "S1 Violent Crimes 0.1235 (policy default, stand-in)",
        "violated_categories": ["S9", "S1"],
        "prompt_attack": False,
        "judged_role": "user",
        "scores": {"unsafe": 0.987654, "prompt_attack": 0.25, "categories": {"S9": 0.75, "S1": 0.123457}},
        "policy": {"name": "default", "hash": DEFAULT_POLICY.hash},
        "models": [{"id": model.id, "revision": model.revision, "stand_in": model.stand_in} for model in models],
        "coverage": {
            "llama_guard_windows": 1,
            "prompt_guard_windows": 1,
            "images": 0,
            "turns_dropped": 0,
            "complete": True,
            "delimiters_neutralised": 0,
        },
        "source": {"topic": "chat.events", "partition": 3, "offset": 812},
        "decided_at": "2026-05-01T12:00:00Z",
        "latency_ms": 500.0,
        "cached": False,
        "metadata": {"channel": 7},
        "event": None,
    }


@pytest.mark.parametrize(
    "answer",
    [
        0.0,
        0.9,
        Finding(0.9, ("S1",), {"S1": 0.5}),
        Finding(None, fault=Fault.TOO_LARGE),
        float("nan"),
        float("inf"),
        1.5,
        -0.1,
        Finding(0.9, ("S1",), {"S1": 1.5}),
        Finding(0.9, ("S15",), {"S15": 0.5}),
    ],
)
async def test_every_verdict_is_as_its_schema_says(answer: float | Finding) -> None:
    verdict = await judged(
        [fake_llama_guard(lambda text: answer), fake_prompt_guard()], occurred_at="2026-05-01T12:00:00Z"
    )
    schema = json.loads(schemas()["verdict.schema.json"])
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        json.loads(verdict.to_json())
    )
    assert VERDICT.validate_json(verdict.to_json()).label is verdict.label  # nothing in it was made up unvalidated


async def test_a_verdict_has_all_fields_in_the_order_of_the_contract() -> None:
    verdict = await judged([fake_llama_guard(), fake_prompt_guard()])
    assert list(vars(verdict)) == [field.name for field in fields(Verdict)]


async def test_a_guard_that_has_nothing_to_do_is_not_asked() -> None:
    llama_guard, prompt_guard = fake_llama_guard(), fake_prompt_guard(lambda text: 1.0)
    verdict = await judged([llama_guard, prompt_guard], text="I am an assistant", role="assistant")
    assert (verdict.label, verdict.judged_role) == (Label.SAFE, "assistant")
    assert prompt_guard.batches == []
    assert verdict.scores.prompt_attack is None
    assert verdict.coverage.prompt_guard_windows == 0


async def test_the_policy_decides() -> None:
    guards = [fake_llama_guard(lambda text: Finding(0.6, ("S6",))), fake_prompt_guard()]
    assert (await judged(guards)).label is Label.UNSAFE
    lenient = Policy(name="lenient", excluded_categories=("S6",))
    verdict = await judged(guards, lenient)
    assert (verdict.label, verdict.reasons) == (Label.SAFE, (Reason.EXCLUDED_ONLY,))
    assert (verdict.policy.name, verdict.policy.hash) == ("lenient", lenient.hash)


@pytest.mark.parametrize("broken", ["llama_guard", "prompt_guard"])
async def test_a_guard_that_fails_on_an_event_sends_it_to_review_and_no_other(broken: str) -> None:
    def fail(text: str) -> float:
        if text == "bad":
            raise ValueError(text)
        return 0.0

    guards = [FakeGuard(name, fail if name == broken else lambda text: 0.0) for name in ("llama_guard", "prompt_guard")]
    async with moderating(guards) as moderator:
        verdicts = await asyncio.gather(
            *(moderator.judge(request(event(text))) for text in ["a", "b", "bad", "c", "d"])
        )
    assert [verdict.label.value for verdict in verdicts] == ["safe", "safe", "review", "safe", "safe"]
    assert verdicts[2].reasons == (Reason.GUARD_ERROR,)


async def test_a_lost_device_gives_no_verdict() -> None:
    def lose(text: str) -> float:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceLost):
        await judged([fake_llama_guard(lose), fake_prompt_guard()])


async def test_an_event_that_cannot_be_prepared_reaches_no_guard() -> None:
    guards = [fake_llama_guard(), fake_prompt_guard()]
    with pytest.raises(Unjudgeable, match=r".") as caught:
        await judged(guards, role="system")
    assert caught.value.error_type == "nothing_to_judge"
    assert guards[0].batches == guards[1].batches == []


class Windows(FakeGuard):
    """A check for each word, the last one incomplete."""

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        checks = [Check(1, word) for word in event.messages[-1].text.split()]
        return Preparation(checks, images=2, turns_dropped=3, complete=False, delimiters_neutralised=4)


async def test_several_windows_make_one_verdict_and_coverage_is_told() -> None:
    guards = [Windows("llama_guard", lambda word: Finding(float(word), ("S1",))), fake_prompt_guard()]
    verdict = await judged(guards, text="0.1 0.7 0.3")
    assert verdict.scores.unsafe == 0.7
    assert verdict.reasons == (Reason.LLAMA_GUARD, Reason.INCOMPLETE_COVERAGE)
    assert vars(verdict.coverage) == {
        "llama_guard_windows": 3,
        "prompt_guard_windows": 1,
        "images": 2,
        "turns_dropped": 3,
        "complete": False,
        "delimiters_neutralised": 4,
    }


@pytest.mark.parametrize(
    ("score", "setting", "carries"), [(0.5, True, True), (0.5, False, False), (0.1, True, False), (0.9, True, False)]
)
async def test_only_review_verdicts_carry_the_event_and_only_by_setting(
    score: float, setting: bool, carries: bool
) -> None:
    options = ModeratorOptions(OPTIONS.batch_tokens, batch_wait=0.0, event_in_review_verdicts=setting)
    band = Policy(name="band", review_band=(0.4, 0.6))
    guards = [fake_llama_guard(lambda text: Finding(score, ("S1",))), fake_prompt_guard()]
    async with moderating(guards, options) as moderator:
        verdict = await moderator.judge(request(event("secret words"), band))
    assert (verdict.event is not None) is carries
    assert (b"secret words" in verdict.to_json()) is carries


async def test_many_events_at_once_each_get_their_own_verdict() -> None:
    def score_of(text: str) -> Finding:
        return Finding(int(text) / 1000, ("S1",))

    llama_guard, prompt_guard = fake_llama_guard(score_of), fake_prompt_guard(lambda text: int(text) / 2000)
    async with moderating([llama_guard, prompt_guard]) as moderator:
        verdicts = await asyncio.gather(
            *(
                moderator.judge(request(event(str(n), event_id=f"e{n}"), record=PlainRecord("t", 0, n)))
                for n in range(300)
            )
        )
    for number, verdict in enumerate(verdicts):
        assert (verdict.event_id, verdict.source.offset) == (f"e{number}", number)
        assert (verdict.scores.unsafe, verdict.scores.prompt_attack) == (number / 1000, number / 2000)
        assert verdict.verdict_id == spelled_id_of("t", 0, number, 0)
    assert len(llama_guard.batches) < 300  # they shared batches


async def test_a_request_tells_when_a_guard_has_begun_with_it() -> None:
    busy, go_on = threading.Event(), threading.Event()

    def hold(text: str) -> float:
        busy.set()
        assert go_on.wait(60)
        return 0.0

    first, second = request(event()), request(event("another"))
    async with moderating([fake_llama_guard(hold)]) as moderator:
        running = asyncio.create_task(moderator.judge(first))
        assert await asyncio.to_thread(busy.wait, 60)
        waiting = asyncio.create_task(moderator.judge(second))
        while not len(moderator.panel.lanes[0]._batcher):  # noqa: ASYNC110  # it tells nobody that something is queued
            await asyncio.sleep(0.001)
        assert (first.started, second.started) == (True, False)
        waiting.cancel()
        await asyncio.wait([waiting])
        go_on.set()
        await running
    assert not second.started


async def test_stand_ins_are_named_as_such() -> None:
    verdict = await judged([fake_llama_guard()])
    assert verdict.models == (ModelRef(id=FAKE_MODEL.id, revision=FAKE_MODEL.revision, stand_in=True),)


def test_the_options_come_from_the_settings() -> None:
    settings = Settings(
        llama_guard_batch_tokens=300,
        prompt_guard_batch_tokens=600,
        batch_wait_ms=7,
        batch_timeout_seconds=8,
        prepare_threads=3,
        event_in_review_verdicts=True,
        verdict_cache_bytes=7000,
    )
    assert ModeratorOptions.of(settings) == ModeratorOptions(
        batch_tokens={"llama_guard": 300, "prompt_guard": 600},
        batch_wait=0.007,
        batch_timeout=8,
        prepare_threads=3,
        event_in_review_verdicts=True,
        verdict_cache_bytes=7000,
    )


async def test_a_guard_whose_findings_would_be_overlooked_is_refused() -> None:
    with pytest.raises(ValueError, match="'image_guard'"):
        Moderator([FakeGuard("image_guard")], ModeratorOptions(batch_tokens={"llama_guard": 1}))
