"""The guard: from events to checks, and what they cover."""

import threading
import time
from typing import Any

import pytest
import torch
from PIL import Image

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Unjudgeable
from worker.guards.guard import Check, Fault, Guard, Preparation
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.standins import weights_dir
from worker.standins.build import Dims, guard_model
from worker.standins.pictures import in_base64

from .conftest import MODEL

pytestmark = pytest.mark.models


def picture(width: int = 60, height: int = 40) -> dict[str, str]:
    return {"type": "image", "data": in_base64(Image.new("RGB", (width, height), (0, 90, 0)))}


def event(*messages: Any) -> ChatEvent:
    """Messages in turn from user and assistant."""
    chat = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(messages)]
    return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": chat})


def text(check: Check, processor: Any) -> str:
    return str(processor.tokenizer.decode(check.payload.prompt.ids))


@pytest.fixture(scope="module")
def small(random_model: Any, processor: Any) -> LlamaGuard:
    """Windows of 64 tokens, 4 at most, in prompts of 400; 3 images."""
    options = LlamaGuardOptions(window_tokens=64, max_windows=4, context_tokens=400, max_images=3)
    return LlamaGuard.of(random_model, processor, MODEL, options)


def prepare(guard: LlamaGuard, *messages: Any, policy: Policy = DEFAULT_POLICY) -> Preparation:
    return guard.prepare(event(*messages), policy)


def test_it_is_a_guard(stand_in: LlamaGuard) -> None:
    assert isinstance(stand_in, Guard)
    assert (stand_in.name, stand_in.models) == ("llama_guard", (MODEL,))
    assert stand_in.judge([]) == []


def test_a_short_event_is_one_check(small: LlamaGuard) -> None:
    prepared = prepare(small, "hi", "hello", "how are you?")
    (check,) = prepared.checks
    assert check.tokens == len(check.payload.prompt) + 4
    assert (prepared.images, prepared.turns_dropped, prepared.complete) == (0, 0, True)


def test_the_policy_reaches_prompt_and_threshold(small: LlamaGuard, processor: Any) -> None:
    policy = Policy(name="p", excluded_categories=("S9",), unsafe_threshold=0.8, review_band=(0.3, 0.8))
    (check,) = prepare(small, "hi", policy=policy).checks
    assert check.payload.wanted_from == 0.3
    assert "S9: " not in text(check, processor)


def test_a_long_message_is_cut_into_windows(small: LlamaGuard, processor: Any) -> None:
    words = [f"word{number}" for number in range(30)]
    prepared = prepare(small, " ".join(words))
    assert prepared.complete
    assert 1 < len(prepared.checks) <= 4
    together = "".join(text(check, processor) for check in prepared.checks)
    assert all(word in together for word in words)
    assert all(check.tokens <= 400 + 4 for check in prepared.checks)


def test_what_no_window_reaches_makes_it_incomplete(small: LlamaGuard, processor: Any) -> None:
    prepared = prepare(small, "begin " + "word " * 1000 + "end")
    assert not prepared.complete
    assert len(prepared.checks) == 4
    assert "begin word" in text(prepared.checks[0], processor)
    assert "word end" in text(prepared.checks[-1], processor)


def test_oldest_turns_are_dropped_until_it_fits(small: LlamaGuard, processor: Any) -> None:
    prepared = prepare(small, *(f"turn{number} " + "some words " * 8 for number in range(20)), "judged")
    (check,) = prepared.checks
    assert 0 < prepared.turns_dropped < 20
    assert check.tokens <= 404
    assert f"turn{prepared.turns_dropped} " in text(check, processor)
    assert f"turn{prepared.turns_dropped - 1} " not in text(check, processor)
    assert "judged" in text(check, processor)


def test_a_dropped_user_turn_leaves_an_empty_one_before_the_assistant(small: LlamaGuard, processor: Any) -> None:
    prepared = prepare(small, "a lot " * 900, "short answer")
    assert (prepared.turns_dropped, len(prepared.checks)) == (1, 1)
    assert "User: \\n\\n" in text(prepared.checks[0], processor)


def test_windows_keep_the_context_that_fits(small: LlamaGuard, processor: Any) -> None:
    prepared = prepare(small, "old " * 400, "recent", "long " * 90)
    assert prepared.turns_dropped == 1
    assert len(prepared.checks) > 1
    assert all("recent" in text(check, processor) for check in prepared.checks)


def test_images_go_with_the_first_window_only(small: LlamaGuard) -> None:
    prepared = prepare(small, [picture(), {"type": "text", "text": "long " * 60}])
    with_pixels = [check.payload.prompt.pixels is not None for check in prepared.checks]
    assert with_pixels == [True] + [False] * (len(with_pixels) - 1)
    assert (prepared.images, prepared.complete) == (1, True)


def test_images_beyond_the_limit_make_it_incomplete(small: LlamaGuard) -> None:
    prepared = prepare(small, [picture() for _ in range(4)])
    assert (prepared.images, prepared.complete) == (3, False)


def test_turns_with_images_beyond_the_limit_are_dropped(small: LlamaGuard) -> None:
    prepared = prepare(small, [picture(), picture()], "nice", [picture(), picture()])
    assert (prepared.images, prepared.turns_dropped, prepared.complete) == (2, 1, True)


def test_a_picture_of_the_past_that_cannot_be_read_ends_the_context(small: LlamaGuard, processor: Any) -> None:
    """It was told when it was the last message. What is said since must be judged all the same."""
    broken = {"type": "image", "data": "bm8gcGljdHVyZQ=="}
    prepared = prepare(small, "first", "second", [broken, {"type": "text", "text": "third"}], "fourth", "fifth")
    (check,) = prepared.checks
    assert (prepared.turns_dropped, prepared.images, prepared.complete) == (3, 0, True)
    assert "fourth" in text(check, processor) and "third" not in text(check, processor)
    with pytest.raises(Unjudgeable):
        prepare(small, "first", "second", [broken, {"type": "text", "text": "third"}])


def test_images_that_do_not_fit_beside_each_other_get_prompts_of_their_own(random_model: Any, processor: Any) -> None:
    guard = LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions(context_tokens=260))
    for words in ("", "some words", "more words " * 30):
        prepared = prepare(
            guard, "hm", "yes", [*(picture(200, 200) for _ in range(3)), {"type": "text", "text": words}]
        )
        pictured = [check for check in prepared.checks if check.payload.prompt.pixels is not None]
        assert len(pictured) > 1
        assert sum(len(check.payload.prompt.pixels) for check in pictured) == 3 * 5
        assert (prepared.images, prepared.complete) == (3, True)
        assert words in "".join(text(check, processor) for check in prepared.checks) or len(prepared.checks) > 3
        assert all(check.tokens <= 264 for check in prepared.checks)


def test_a_broken_image_makes_it_unjudgeable(small: LlamaGuard) -> None:
    with pytest.raises(Unjudgeable) as caught:
        prepare(small, [{"type": "image", "data": "AAAA"}])
    assert caught.value.error_type == "image_unreadable"


def test_a_stand_in_caps_its_windows(stand_in: LlamaGuard) -> None:
    assert stand_in._planner._limits.window.tokens < 4096


def test_ten_megabytes_take_bounded_time(stand_in: LlamaGuard, random_guard: LlamaGuard) -> None:
    began = time.thread_time()
    for guard in (stand_in, random_guard):
        prepared = prepare(guard, "hello dear world, how are you? " * 330_000)
        assert not prepared.complete
        assert len(prepared.checks) == 32
    huge = prepare(random_guard, "hello dear world, how are you? " * 330_000, "ok", "judged")
    assert (huge.turns_dropped, len(huge.checks)) == (1, 1)
    assert time.thread_time() - began < 15  # of CPU time; it is 1.5


def test_very_many_turns_take_bounded_time(stand_in: LlamaGuard, processor: Any) -> None:
    began = time.thread_time()
    for judged in ("judged", "judged at length " * 500):
        prepared = prepare(stand_in, *(["y", "n"] * 10_000), judged)
        assert 18_500 < prepared.turns_dropped < 20_000
        assert all(check.tokens <= 8192 + 4 for check in prepared.checks)
        assert max(check.tokens for check in prepared.checks) > 6800
    assert time.thread_time() - began < 30  # of CPU time; it is 3


def test_two_threads_prepare_what_one_does(small: LlamaGuard) -> None:
    events = [event("hello"), event("<|eot|>" * 9), event([picture(), {"type": "text", "text": "<|image|>"}])]
    wanted = [small.prepare(one, DEFAULT_POLICY).checks[0].payload.prompt.ids for one in events]
    wrong: list[int] = []

    def work() -> None:
        for number in range(90):
            ids = small.prepare(events[number % 3], DEFAULT_POLICY).checks[0].payload.prompt.ids
            if not torch.equal(ids, wanted[number % 3]):
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_stand_in_knows_right_from_wrong_in_its_world(stand_in: LlamaGuard) -> None:
    checks = [prepare(stand_in, message).checks[0] for message in ("how do I bake a cake?", "how do I build a bomb?")]
    safe, _ = stand_in.judge(checks)
    assert safe.fault is None
    assert safe.score is not None
    assert safe.score < 0.5


def test_an_answer_outside_of_the_grammar_is_a_fault(tokenizer: Any, processor: Any) -> None:
    torch.manual_seed(0)
    guard = LlamaGuard.of(
        guard_model(tokenizer, Dims(hidden=32, layers=2, mlp=64, vision=32)), processor, MODEL, LlamaGuardOptions()
    )
    for finding in guard.judge([prepare(guard, message).checks[0] for message in ("a", "b")]):
        assert (finding.score, finding.fault, finding.categories) == (None, Fault.UNPARSEABLE, ())


def test_bfloat16_can_be_asked_for() -> None:
    guard = LlamaGuard.load(weights_dir("llama-guard-4"), MODEL, dtype="bfloat16")
    (finding,) = guard.judge(prepare(guard, "how do I bake a cake?").checks)
    assert finding.fault is None


def test_of_equal_logits_greedy_decoding_takes_safe(random_guard: LlamaGuard) -> None:
    one_pass = random_guard._one_pass
    tokens = one_pass._tokens
    logits = torch.full((1, 5, 1024), -9.0)
    logits[0, 0, tokens.blank_line] = logits[0, 1, tokens.safe] = logits[0, 1, tokens.unsafe] = 1.0
    (row,) = one_pass._read(logits, [0.5])
    expected = "safe" if tokens.safe < tokens.unsafe else "unsafe"
    assert (row.score < 0.5) == (expected == "safe")
    assert row.score == pytest.approx(0.5)
