"""The shadow beside the main path, with fake guards on the real threads."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.moderation.shadow_rig import OTHER_PROMPT, dropped, event, failed, shadow_rig
from worker.contract.verdict import Label, Reason, Verdict, spelled_id_of
from worker.guards.guard import Finding
from worker.policy.policy import DEFAULT_POLICY, Policy

STRICT = Policy(name="strict", unsafe_threshold=0.3)
LOOSE = Policy(name="loose", unsafe_threshold=0.95)
NO_GUARD = Policy(name="none", judged_roles=("assistant",))  # of the role: the guards are not asked for the verdict
CAREFUL = Policy(name="careful", review_band=(0.3, 0.7))


def score_in(text: str) -> Finding:
    """The number at the end of a text; the guard names S9 from 0.5 on, or where the text says so."""
    score = float(text.split()[-1])
    return Finding(score, ("S9",), {"S9": 0.9}) if score >= 0.5 or "named" in text else Finding(score)


def said(verdict: Verdict) -> dict[str, Any]:
    """What may not differ between two runs."""
    return vars(verdict) | {"latency_ms": 0, "decided_at": None}


async def settled(condition: Callable[[], object]) -> None:
    """Returns when the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # threads are at work
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("policy", "text", "main", "shadow"),
    [
        (STRICT, "named 0.4", Label.SAFE, Label.UNSAFE),
        (LOOSE, "0.9", Label.UNSAFE, Label.SAFE),
        (CAREFUL, "0.6", Label.UNSAFE, Label.REVIEW),
        (CAREFUL, "named 0.4", Label.SAFE, Label.REVIEW),
        (STRICT, "0.9", Label.UNSAFE, Label.UNSAFE),
    ],
)
async def test_both_directions(policy: Policy, text: str, main: Label, shadow: Label) -> None:
    async with shadow_rig(policy, score_in) as rig:
        verdict = await rig.judge(1, text)
        ((label, other),) = await rig.until(1)
    assert verdict.label is label is main
    assert other.label is shadow
    assert (other.verdict_id, other.source) == (verdict.verdict_id, verdict.source)
    assert (other.policy.name, other.policy.hash) == (policy.name, policy.hash)
    assert policy.name in other.explanation


async def test_answers_are_shared_where_the_question_is_the_same() -> None:
    async with shadow_rig(LOOSE, score_in) as rig:
        await asyncio.gather(*(rig.judge(number, f"{number} 0.9") for number in range(50)))
        published = await rig.until(50)
        assert sorted(rig.guard.texts) == sorted(f"{number} 0.9" for number in range(50))
        assert set(rig.guard.policies) == {"default"}
    assert {verdict.coverage.llama_guard_windows for _, verdict in published} == {1}
    assert {verdict.coverage.prompt_guard_windows for _, verdict in published} == {1}


async def test_categories_that_the_main_policy_did_not_want_are_asked_for() -> None:
    async with shadow_rig(STRICT, score_in) as rig:
        await rig.judge(1, "0.2")  # below both thresholds
        await rig.judge(2, "0.4")  # between them
        await rig.until(2)
        assert rig.guard.policies == ["default", "default", "strict"]
        assert rig.guard.texts == ["0.2", "0.4", "0.4"]


async def test_another_prompt_is_asked_for_and_the_other_guard_is_not() -> None:
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        await rig.judge(1, "0.9")
        ((label, verdict),) = await rig.until(1)
        assert rig.guard.policies == ["default", "other"]
    assert (label, verdict.label, verdict.reasons) == (Label.UNSAFE, Label.SAFE, (Reason.EXCLUDED_ONLY,))
    assert verdict.coverage.prompt_guard_windows == 1


async def test_a_cached_verdict_has_a_shadow_too() -> None:
    async with shadow_rig(LOOSE, score_in, cache=1 << 20) as rig:
        assert not (await rig.judge(1, "0.9")).cached
        assert (await rig.judge(2, "0.9")).cached
        published = await rig.until(2)
    assert [(label, verdict.label) for label, verdict in published] == [(Label.UNSAFE, Label.SAFE)] * 2


async def test_the_share_is_the_same_ones_every_time() -> None:
    ids = [spelled_id_of("chat.events", 0, offset, 0) for offset in range(4000)]
    async with shadow_rig(LOOSE, share=0.25) as one, shadow_rig(LOOSE, share=0.25) as other:
        taken = [each for each in ids if one.shadow.takes(each)]
        assert taken == [each for each in ids if other.shadow.takes(each)]
    async with shadow_rig(LOOSE, share=0.5) as larger:
        assert all(larger.shadow.takes(each) for each in taken), "a larger share has those of a smaller one"
    async with shadow_rig(LOOSE, share=0.0) as none, shadow_rig(LOOSE, share=1.0) as all_of_them:
        assert not any(map(none.shadow.takes, ids)) and all(map(all_of_them.shadow.takes, ids))
    assert 850 < len(taken) < 1150


async def test_it_yields_while_the_guards_are_busy() -> None:
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        rig.guard.gate.clear()
        first = asyncio.create_task(rig.judge(1, "wait 0.1"))
        await settled(lambda: rig.guard.policies)
        await rig.judge(2, "0.2", NO_GUARD)  # its shadow waits from here on
        second = asyncio.create_task(rig.judge(3, "0.3"))
        await settled(lambda: len(rig.guard.policies) == 2)
        rig.guard.gate.set()
        await asyncio.gather(first, second)
        await rig.until(3)
        assert rig.guard.policies[:2] == ["default"] * 2
        assert rig.guard.texts == ["wait 0.1", "0.3", "0.2", "wait 0.1", "0.3"]


async def test_a_check_does_not_board_when_an_event_came_before_its_turn() -> None:
    async with shadow_rig(None, score_in) as rig:
        spare_time = rig.moderator.spare_time()
        checks = [rig.guard.prepare(event(text), DEFAULT_POLICY).checks[0] for text in ("wait 0.3", "0.4")]
        rig.guard.gate.clear()
        spare = [asyncio.create_task(spare_time.judge(rig.guard, check)) for check in checks]  # one holds the device
        await settled(rig.guard.held.is_set)
        main = asyncio.create_task(rig.judge(1, "0.2"))
        await settled(lambda: len(rig.guard.policies) == 3)
        rig.guard.gate.set()
        await asyncio.gather(main, *spare)
        assert rig.guard.texts == ["wait 0.3", "0.2", "0.4"]


async def test_what_the_guards_have_no_time_for_is_dropped_and_counted() -> None:
    before = dropped("busy")
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        rig.guard.gate.clear()
        held = asyncio.create_task(rig.judge(0, "wait 0.1"))
        await settled(lambda: rig.guard.policies)
        for number in range(1, 101):
            await rig.judge(number, "0.1", NO_GUARD)
        await settled(lambda: dropped("busy") - before == 100 - 65)  # one is taken out, 64 wait
        rig.guard.gate.set()
        await held
        await rig.until(65)


async def test_a_topic_that_takes_nothing_delays_no_main_verdict() -> None:
    before = dropped("behind")
    async with shadow_rig(LOOSE, score_in) as rig:
        rig.publishing.clear()
        for number in range(1100):
            await rig.judge(number, f"{number} 0.9")
        assert dropped("behind") - before == 1100 - 1025
        rig.publishing.set()
        await rig.until(1025)


async def test_bytes_are_bounded() -> None:
    before = dropped("behind")
    async with shadow_rig(LOOSE, score_in) as rig:
        rig.publishing.clear()
        for number in range(20):
            await rig.judge(number, f"{number} 0.9", value=bytes(1 << 20))
        assert dropped("behind") - before == 4
        rig.publishing.set()
        await rig.until(16)
        await rig.judge(20, "20 0.9", value=bytes(16 << 20))
        await rig.until(17)


@pytest.mark.parametrize("stage", ["prepare", "judge", "decide", "publish", "policy"])
async def test_a_failing_shadow_changes_no_main_verdict(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shadow_rig(None, score_in, share=0.0) as rig:
        without = said(await rig.judge(1, "0.9"))

    def fails(*_: object) -> Any:
        raise RuntimeError(f"{stage} broke")

    counted = {"policy": "decide"}.get(stage, stage)
    before = failed(counted)
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        if stage == "publish":
            rig.publish_raises = RuntimeError("no topic")
        elif stage == "decide":
            monkeypatch.setattr(rig.moderator, "decided", fails)
        elif stage == "policy":
            monkeypatch.setattr(rig.shadow, "_policy", fails)
        else:
            judged = rig.guard.judge if stage == "judge" else rig.guard.prepare
            calls: list[object] = []

            def fails_later(*arguments: Any) -> Any:
                calls.append(arguments)
                return fails() if len(calls) > 1 else judged(*arguments)

            monkeypatch.setattr(rig.guard, stage, fails_later)
        assert said(await rig.judge(1, "0.9")) == without
        await settled(lambda: failed(counted) == before + 1)
        assert rig.published == [] and rig.named == set() and rig.named_when_lost == []
        monkeypatch.undo()
        rig.publish_raises = None
        assert said(await rig.judge(1, "0.9")) == without
        await rig.until(1)  # and it goes on


async def test_a_device_that_is_lost_is_told_while_the_record_is_named() -> None:
    def loses(text: str) -> Finding:
        calls.append(text)
        if len(calls) > 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return Finding(0.1)

    calls: list[str] = []
    async with shadow_rig(OTHER_PROMPT, loses) as rig:
        assert (await rig.judge(7)).label is Label.SAFE
        await settled(lambda: rig.named_when_lost)
        assert rig.named_when_lost == [{7}]


async def test_a_check_that_hangs_counts_as_a_lost_device() -> None:
    async with shadow_rig(OTHER_PROMPT, score_in, options={"batch_timeout": 1}) as rig:
        rig.guard.gate.set()
        assert (await rig.judge(7, "wait 0.1")).label is Label.SAFE
        rig.guard.gate.clear()
        await settled(lambda: rig.named_when_lost)


async def test_paused_it_does_nothing() -> None:
    before = dropped("paused")
    async with shadow_rig(OTHER_PROMPT, score_in, paused=True) as rig:
        await rig.judge(1, "0.9")
        assert dropped("paused") == before + 1
        assert rig.guard.policies == ["default"]


async def test_a_policy_that_is_gone_and_comes_back() -> None:
    before = dropped("no_policy")
    async with shadow_rig(None, score_in) as rig:
        await rig.judge(1, "0.9")
        assert dropped("no_policy") == before + 1
        rig.policy = LOOSE
        await rig.judge(2, "0.9")
        await rig.until(1)


async def test_an_image_behind_a_url_is_not_fetched_twice() -> None:
    before = dropped("image_url")
    image = [{"type": "text", "text": "0.9"}, {"type": "image", "url": "https://pictures.example/cat.png"}]
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        await rig.judge(1, image)
        await settled(lambda: dropped("image_url") == before + 1)
        assert rig.guard.policies == ["default"]
        rig.policy = LOOSE  # the same question
        await rig.judge(2, image)
        await rig.until(1)


async def test_a_role_that_the_shadow_does_not_judge() -> None:
    async with shadow_rig(Policy(name="users", judged_roles=("assistant",)), score_in) as rig:
        await rig.judge(1, "0.9")
        ((label, verdict),) = await rig.until(1)
        assert rig.guard.policies == ["default"]
    assert (label, verdict.label, verdict.reasons) == (Label.UNSAFE, Label.SAFE, (Reason.ROLE_NOT_JUDGED,))


async def test_images_taken_away_are_another_question() -> None:
    image = [{"type": "text", "text": "0.9"}, {"type": "image", "data": "iVBORw0KGgo="}]
    async with shadow_rig(Policy(name="blind", images="ignore"), score_in) as rig:
        await rig.judge(1, image)
        ((_, verdict),) = await rig.until(1)
        assert rig.guard.policies == ["default", "blind"]
    assert verdict.coverage.images == 0 and Reason.IMAGES_IGNORED in verdict.reasons


async def test_a_shadow_verdict_carries_no_event() -> None:
    async with shadow_rig(CAREFUL, score_in, options={"event_in_review_verdicts": True}) as rig:
        await rig.judge(1, "0.6")
        ((_, verdict),) = await rig.until(1)
    assert verdict.label is Label.REVIEW and verdict.event is None


async def test_drop_gives_all_up_at_once() -> None:
    async with shadow_rig(OTHER_PROMPT, score_in) as rig:
        rig.guard.gate.clear()
        held = asyncio.create_task(rig.judge(0, "wait 0.1"))
        await settled(lambda: rig.guard.policies)
        for number in range(1, 10):
            await rig.judge(number, "0.1", NO_GUARD)
        rig.shadow.drop()
        assert not rig.shadow.takes("0" * 32)
        rig.guard.gate.set()
        await held
        assert (await rig.judge(11, "0.9")).label is Label.UNSAFE
        assert rig.guard.policies == ["default"] * 2 and rig.published == []
