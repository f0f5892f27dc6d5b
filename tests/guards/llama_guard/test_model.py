"""Less of a model, or a smaller one: the same answers from the text model alone, nearly the same from int8 weights."""

import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoProcessor

from tests.guards.llama_guard.conftest import MODEL
from tests.guards.llama_guard.sampling import differences, questions, samples
from worker.contract.chat_event import ChatEvent
from worker.guards.errors import ModelRefused
from worker.guards.guard import Finding
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.guards.llama_guard.model import load_config, load_model, text_model
from worker.guards.loading import load_guards
from worker.policy.policy import DEFAULT_POLICY
from worker.settings import STAND_IN, Settings
from worker.standins import weights_dir

pytestmark = pytest.mark.models

PATH: Path = weights_dir("llama-guard-4")


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(PATH)


def loaded(**options: Any) -> LlamaGuard:
    return LlamaGuard.load(PATH, MODEL, dtype="float32", options=LlamaGuardOptions(**options))


def judged(guard: LlamaGuard, processor: Any, count: int) -> list[Finding]:
    drawn = [sample for sample in samples(count, seed=5) if not any(turn.images for turn in sample.turns)]
    return guard._one_pass.judge(questions(processor, drawn))


def test_without_images_the_text_model_alone_is_loaded_and_says_the_same(stand_in: LlamaGuard, processor: Any) -> None:
    alone = loaded(max_images=0)
    assert not hasattr(alone._one_pass._model, "vision_model")
    assert hasattr(stand_in._one_pass._model, "vision_model")
    assert differences(judged(alone, processor, 60), judged(stand_in, processor, 60)) < 1e-6


def test_an_image_that_is_not_judged_makes_the_coverage_incomplete() -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts = [{"type": "image", "data": pixel}, {"type": "text", "text": "look"}]
    event = ChatEvent.model_validate(
        {"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": parts}]}
    )
    preparation = loaded(max_images=0).prepare(event, DEFAULT_POLICY)
    assert (preparation.images, preparation.complete) == (0, False)
    assert len(preparation.checks) == 1


def test_int8_weights_give_the_same_labels(stand_in: LlamaGuard, processor: Any) -> None:
    small = loaded(weights="int8")
    found, expected = judged(small, processor, 200), judged(stand_in, processor, 200)
    assert [bool(each.categories) for each in found] == [bool(each.categories) for each in expected]
    assert sum(one.categories != other.categories for one, other in zip(found, expected, strict=True)) <= 1
    scores = [(one.score or 0.0, other.score or 0.0) for one, other in zip(found, expected, strict=True)]
    assert 0 < max(abs(one - other) for one, other in scores) < 0.05

    linear, head = (
        [type(weight).__name__ for weight in (model.model.layers[0].feed_forward.up_proj.weight, model.lm_head.weight)]
        for model in (text_model(guard._one_pass._model) for guard in (small, stand_in))
    )
    assert linear == ["Int8Tensor", "Parameter"]
    assert head == ["Parameter", "Parameter"]


def test_int8_without_torchao_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ModelRefused, match=r"moderation-worker\[int8\]") as refused:
        load_model(PATH, load_config(PATH), "cpu", "auto", images=True, weights="int8")
    assert refused.value.cause == "torchao_missing"


def test_verdicts_say_that_the_weights_were_int8() -> None:
    settings = Settings(
        llama_guard_model=STAND_IN, prompt_guard_model=STAND_IN, llama_guard_weights="int8", device="cpu"
    )
    llama_guard, prompt_guard = load_guards(settings)
    assert llama_guard.models[0].revision.endswith("+int8")
    assert "+" not in prompt_guard.models[0].revision
