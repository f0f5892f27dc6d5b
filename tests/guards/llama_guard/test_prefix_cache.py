"""The prefix cache: the same answers as without it, whatever is in a batch, and within its bytes."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.guards.llama_guard.conftest import MODEL
from tests.guards.llama_guard.sampling import differences, questions, samples
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.guards.llama_guard.one_pass import Question
from worker.guards.llama_guard.prefix_cache import PrefixCache, Shape, probes_of, stacked
from worker.guards.llama_guard.prompts import Prompt, Prompts, PromptTurn
from worker.observability import metrics
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.corpus import text_message

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def asked(processor: Any) -> Sequence[Question]:
    """Text and images, both roles, several turns and exclusions."""
    return questions(processor, samples(48, seed=11))


@pytest.fixture(scope="module")
def whole(random_model: Any, processor: Any) -> LlamaGuard:
    return LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions(prefix_cache_bytes=0))


@pytest.fixture
def cache(random_model: Any, processor: Any) -> PrefixCache:
    return PrefixCache(random_model, probes_of(Prompts(processor)), most_bytes=1 << 30)


def test_mixed_batches_are_answered_as_without_the_cache(
    random_guard: LlamaGuard, whole: LlamaGuard, asked: Sequence[Question]
) -> None:
    assert len({Shape.of(question.prompt) for question in asked}) >= 8
    alone = [whole._one_pass.judge([question])[0] for question in asked]
    assert differences(random_guard._one_pass.judge(asked), alone) < 1e-4


def test_rows_without_a_prefix_stand_beside_rows_with_one(
    random_guard: LlamaGuard, whole: LlamaGuard, asked: Sequence[Question]
) -> None:
    odd = Prompt(torch.arange(20, 60, dtype=torch.int32), None, (), "user")  # begins like nothing that was rendered
    mixed = [Question(odd, 0.0), *asked[:6], Question(odd, 0.0)]
    alone = [whole._one_pass.judge([question])[0] for question in mixed]
    assert differences(random_guard._one_pass.judge(mixed), alone) < 1e-4


@torch.inference_mode()
def test_every_rendered_prompt_begins_with_its_prefix_and_the_prefix_is_most_of_a_short_one(
    cache: PrefixCache, processor: Any
) -> None:
    prompts = Prompts(processor)
    for opening in ("hello", " spaces", "\n\n", "", "9", "ähm", "S9", "<|eot|>", "🙂", "User: x", "\\n\\n"):
        for judged in ("user", "assistant"):
            turns = [PromptTurn("user", opening)] + [PromptTurn("assistant", opening)] * (judged == "assistant")
            prompt = prompts.render(turns, ["S3"])
            prefix = cache.of(prompt)
            assert prefix is not None, (opening, judged)
            assert len(prefix) > len(prompt) / 3


@torch.inference_mode()
def test_the_cost_of_a_prompt_is_what_is_left_to_compute(cache: PrefixCache, processor: Any) -> None:
    prompt = Prompts(processor).render([PromptTurn("user", "hello")])
    assert cache.known_tokens(prompt) == 0
    prefix = cache.of(prompt)
    assert prefix is not None
    assert cache.known_tokens(prompt) == len(prefix)


@torch.inference_mode()
def test_when_the_bytes_are_used_up_only_what_is_used_far_more_gets_a_place(random_model: Any, processor: Any) -> None:
    prompts = Prompts(processor)
    one, two, three = (prompts.render([PromptTurn("user", "hi")], excluded) for excluded in ((), ("S1",), ("S2",)))
    size = PrefixCache(random_model, probes_of(prompts), 1 << 30).of(one).size  # type: ignore[union-attr]
    cache = PrefixCache(random_model, probes_of(prompts), most_bytes=2 * size)

    def held() -> list[bool]:
        return [bool(cache.known_tokens(prompt)) for prompt in (one, two, three)]

    for prompt in (one, two, one, three, three):
        cache.of(prompt)
    assert held() == [True, True, False]
    cache.of(three)
    assert held() == [True, False, True]
    assert cache.of(two) is None  # until it is used far more often in turn


@torch.inference_mode()
def test_what_is_not_used_any_more_fades(random_model: Any, processor: Any) -> None:
    prompts = Prompts(processor)
    old, new = (prompts.render([PromptTurn("user", "hi")], excluded) for excluded in ((), ("S1",)))
    size = PrefixCache(random_model, probes_of(prompts), 1 << 30).of(old).size  # type: ignore[union-attr]
    cache = PrefixCache(random_model, probes_of(prompts), most_bytes=size)
    for _ in range(20_000):
        cache.of(old)
    for _ in range(10_000):
        cache.of(new)
    assert (cache.known_tokens(old), cache.known_tokens(new) > 0) == (0, True)
    assert len(cache._uses) <= 2


@torch.inference_mode()
def test_a_prefix_larger_than_the_bound_is_not_computed(random_model: Any, processor: Any) -> None:
    cache = PrefixCache(random_model, probes_of(Prompts(processor)), most_bytes=1000)
    assert cache.of(Prompts(processor).render([PromptTurn("user", "hello")])) is None
    assert cache.bytes == 0


def test_200_policies_stay_within_the_bytes_and_change_no_answer(
    random_model: Any, processor: Any, whole: LlamaGuard
) -> None:
    """Each with both roles: 400 prefixes where there is room for five."""
    rng, prompts = random.Random(7), Prompts(processor)
    policies = {
        tuple(sorted(rng.sample(CATEGORY_KEYS, rng.randint(1, 9)), key=CATEGORY_KEYS.index)) for _ in range(230)
    }
    asked = [
        Question(prompts.render([PromptTurn("user", "hi"), *end], excluded))
        for excluded in sorted(policies)[:200]
        for end in ((), (PromptTurn("assistant", text_message(rng, "assistant", []).text),))
    ]
    assert len({Shape.of(question.prompt) for question in asked}) == 400
    rng.shuffle(asked)
    popular = asked[:3] * 40
    with torch.inference_mode():
        one = PrefixCache(random_model, probes_of(prompts), 1 << 30).of(asked[0].prompt)
    assert one is not None
    bound = 5 * one.size
    guard = LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions(prefix_cache_bytes=bound))
    cache = guard._one_pass._prefixes
    held: set[Shape] = set()
    added = 0
    for start in range(0, len(asked), 40):
        batch = [*asked[start : start + 40], *popular[start // 4 : start // 4 + 10]]
        found = guard._one_pass.judge(batch)
        added += len(set(cache._prefixes) - held)
        held = set(cache._prefixes)
        assert 0 < cache.bytes <= bound
        assert cache.bytes == sum(prefix.size for prefix in cache._prefixes.values())
        assert metrics.PREFIX_CACHE_BYTES._value.get() == cache.bytes
        assert differences(found, whole._one_pass.judge(batch)) < 1e-4
    assert added < 20  # not one for each of the 500 prompts
    assert all(cache.known_tokens(question.prompt) for question in popular[:3])


@torch.inference_mode()
def test_prefixes_of_different_lengths_end_in_the_same_column(cache: PrefixCache, processor: Any) -> None:
    prompts = Prompts(processor)
    rows = [prompts.render([PromptTurn("user", "hi")], excluded) for excluded in ((), ("S1", "S2", "S3"), ())]
    prefixes = [cache.of(prompt) for prompt in rows]
    kept, lengths = stacked([*prefixes, None], cache._model.config.get_text_config())
    assert lengths.tolist() == [len(prefix) if prefix else 0 for prefix in (*prefixes, None)]
    keys = kept.layers[0].keys
    assert keys.shape[0] == 4
    assert keys.shape[2] == max(lengths)
    for row, prefix in enumerate(prefixes):
        assert prefix is not None
        assert torch.equal(keys[row, :, -len(prefix) :], prefix.layers[0][0][0])
    assert not keys[3].any()


def test_a_batch_computes_a_few_prefixes_and_leaves_the_others_to_later_ones(
    random_model: Any, processor: Any, whole: LlamaGuard
) -> None:
    prompts = Prompts(processor)
    asked = [Question(prompts.render([PromptTurn("user", "hi")], (key,))) for key in CATEGORY_KEYS]
    guard = LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions())
    cache, held = guard._one_pass._prefixes, [0]
    for _ in range(3):
        assert differences(guard._one_pass.judge(asked), whole._one_pass.judge(asked)) < 1e-4
        held.append(len(cache._prefixes))
    assert held == [0, 8, 14, 14]


def test_no_bytes_no_cache(random_model: Any, processor: Any) -> None:
    cache = PrefixCache(random_model, probes_of(Prompts(processor)), most_bytes=0)
    assert cache.of(Prompts(processor).render([PromptTurn("user", "hello")])) is None


@torch.inference_mode()
def test_what_does_not_fit_is_rendered_once_and_not_for_every_prompt(random_model: Any, processor: Any) -> None:
    prompts = Prompts(processor)
    rendered: list[Shape] = []
    probes = probes_of(prompts)

    def counted(shape: Shape) -> Sequence[Prompt]:
        rendered.append(shape)
        return probes(shape)

    cache = PrefixCache(random_model, counted, most_bytes=1000)
    prompt = prompts.render([PromptTurn("user", "hi")])
    assert [cache.of(prompt) for _ in range(20)] == [None] * 20
    assert len(rendered) == 1
