"""Scope: roles and images as the policy wants them, through the whole moderator."""

import time
from typing import Any

import pytest

from tests.fakes import fake_llama_guard, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label, Reason, Verdict
from worker.guards.guard import Finding
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.moderation.scope import scope_of
from worker.policy.policy import DEFAULT_POLICY, Policy

OPTIONS = ModeratorOptions(batch_tokens={"llama_guard": 1000, "prompt_guard": 1000}, batch_wait=0.0)
USERS = Policy(name="users", judged_roles=("user",))
ASSISTANTS = Policy(name="assistants", judged_roles=("assistant",))
REVIEWED = Policy(name="reviewed", images="review")
IGNORED = Policy(name="ignored", images="ignore")
IMAGE = {"type": "image", "data": "AAAA"}
CAKE, BOMB = ({"type": "text", "text": text} for text in ("cake", "bomb"))


def event(*messages: tuple[str, Any]) -> ChatEvent:
    said = [{"role": role, "content": content} for role, content in messages]
    return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": said})


async def judged(policy: Policy, *messages: tuple[str, Any]) -> tuple[Verdict, list[str]]:
    """The verdict, and the texts that Llama Guard saw. It finds bombs; Prompt Guard finds an attack in everything."""
    llama_guard = fake_llama_guard(lambda text: Finding(0.9, ("S9",)) if "bomb" in text else 0.1)
    moderator = Moderator([llama_guard, fake_prompt_guard(lambda _text: 0.1)], OPTIONS)
    try:
        request = Request.about(event(*messages), policy, PlainRecord("t", 0, 0), time.monotonic())
        verdict = await moderator.judge(request)
    finally:
        moderator.close()
    return verdict, [text for batch in llama_guard.batches for text in batch]


@pytest.mark.parametrize(
    ("policy", "roles", "judges"),
    [
        (USERS, ["user"], True),
        (USERS, ["user", "assistant"], False),
        (USERS, ["user", "assistant", "tool"], True),
        (ASSISTANTS, ["user"], False),
        (ASSISTANTS, ["assistant"], True),
        (ASSISTANTS, ["assistant", "tool"], False),
    ],
)
async def test_only_the_roles_that_the_policy_names_are_judged(policy: Policy, roles: list[str], judges: bool) -> None:
    verdict, seen = await judged(policy, *((role, "bomb") for role in roles))
    if judges:
        assert (verdict.label, verdict.reasons) == (Label.UNSAFE, (Reason.LLAMA_GUARD,))
        return
    assert (verdict.label, verdict.reasons, seen) == (Label.SAFE, (Reason.ROLE_NOT_JUDGED,), [])
    assert (verdict.coverage.llama_guard_windows, verdict.coverage.prompt_guard_windows) == (0, 0)
    assert (verdict.scores.unsafe, verdict.scores.prompt_attack) == (None, None)
    assert verdict.explanation == f"safe: messages of this role are not judged (policy {policy.name}, stand-in)"


async def test_a_system_message_is_nothings_to_judge_under_any_policy() -> None:
    for policy in (USERS, IGNORED, DEFAULT_POLICY):
        with pytest.raises(Unjudgeable, match="system message"):
            await judged(policy, ("system", "be nice"))


async def test_a_message_with_an_image_goes_to_review_at_least() -> None:
    verdict, _ = await judged(REVIEWED, ("user", [CAKE, IMAGE]))
    assert (verdict.label, verdict.reasons) == (Label.REVIEW, (Reason.IMAGE_REVIEW,))
    verdict, _ = await judged(REVIEWED, ("user", [BOMB, IMAGE]))
    assert (verdict.label, verdict.reasons) == (Label.UNSAFE, (Reason.LLAMA_GUARD, Reason.IMAGE_REVIEW))


@pytest.mark.parametrize("policy", [REVIEWED, IGNORED])
async def test_an_image_before_the_judged_turn_is_no_image_of_it(policy: Policy) -> None:
    verdict, _ = await judged(policy, ("user", [CAKE, IMAGE]), ("assistant", "a cake"), ("user", "thanks"))
    assert (verdict.label, verdict.reasons) == (Label.SAFE, ())


async def test_an_image_of_an_earlier_message_in_the_judged_turn_counts() -> None:
    verdict, _ = await judged(REVIEWED, ("user", [CAKE, IMAGE]), ("user", "what is it?"))
    assert verdict.reasons == (Reason.IMAGE_REVIEW,)


async def test_ignored_images_are_not_even_read_and_the_text_is_judged() -> None:
    verdict, seen = await judged(IGNORED, ("user", [CAKE, IMAGE, IMAGE]))
    assert (verdict.label, verdict.reasons, seen) == (Label.SAFE, (Reason.IMAGES_IGNORED,), ["cake"])
    assert (verdict.coverage.images, verdict.coverage.complete) == (0, True)
    verdict, seen = await judged(IGNORED, ("user", [BOMB, IMAGE]))
    assert (verdict.label, verdict.reasons) == (Label.UNSAFE, (Reason.LLAMA_GUARD, Reason.IMAGES_IGNORED))
    verdict, seen = await judged(IGNORED, ("user", [IMAGE]))
    assert (verdict.label, seen) == (Label.SAFE, [""])


def test_what_is_wholly_judged_is_handed_on_as_it_is() -> None:
    given = event(("user", [CAKE, IMAGE]))
    assert scope_of(given, DEFAULT_POLICY).event is given
    plain = event(("user", "cake"))
    assert all(scope_of(plain, policy).event is plain for policy in (USERS, REVIEWED, IGNORED))
