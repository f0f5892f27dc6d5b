"""The prefix cache: the same answers as without it, whatever is in a batch, and within its bytes."""

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
def test_the_least_recently_used_go_when_the_bytes_are_used_up(random_model: Any, processor: Any) -> None:
    prompts = Prompts(processor)
    one, two, three = (prompts.render([PromptTurn("user", "hi")], excluded) for excluded in ((), ("S1",), ("S2",)))
    size = PrefixCache(random_model, probes_of(prompts), 1 << 30).of(one).size  # type: ignore[union-attr]
    cache = PrefixCache(random_model, probes_of(prompts), most_bytes=2 * size)
    for prompt in (one, two, one, three):
        cache.of(prompt)
    assert [bool(cache.known_tokens(prompt)) for prompt in (one, two, three)] == [True, False, True]


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


def test_no_bytes_no_cache(random_model: Any, processor: Any) -> None:
    cache = PrefixCache(random_model, probes_of(Prompts(processor)), most_bytes=0)
    assert cache.of(Prompts(processor).render([PromptTurn("user", "hello")])) is None
