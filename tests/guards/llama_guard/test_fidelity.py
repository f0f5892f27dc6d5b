"""The guard says what the release's own code says: `generate(do_sample=False)`, one conversation at a time."""

import re
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, Llama4ForConditionalGeneration

from tests.guards.llama_guard.sampling import Sample, differences, questions, samples
from worker.guards.guard import Fault, Finding
from worker.guards.llama_guard.guard import LlamaGuard
from worker.guards.llama_guard.one_pass import Question
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins import weights_dir

pytestmark = pytest.mark.models

UNSAFE = re.compile(r"\n\nunsafe\n(S(?:[1-9]|1[0-4])(?:,S(?:[1-9]|1[0-4]))*)(<\|eot\|>)?")


def released_answer(model: Any, processor: Any, sample: Sample) -> str | tuple[str, ...]:
    """What the snippet of the release prints, read strictly: safe, unparseable, or the categories."""
    inputs = processor.apply_chat_template(
        [sample.chat],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        excluded_category_keys=sample.excluded,
    )
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=31, do_sample=False)
    said = processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :])
    if said.startswith("\n\nsafe"):
        return "safe"
    match = UNSAFE.fullmatch(said)
    # Without an end it is a list of 14 and the beginning of a 15th, which a random model may well repeat for ever.
    whole = match and (match[2] or match[1].count(",") == len(CATEGORY_KEYS) - 1)
    if match is None and len(re.findall(r"S\d+", said)) >= len(CATEGORY_KEYS):
        match = whole = UNSAFE.match(said)
    return tuple(dict.fromkeys(match[1].split(",")[:14])) if match and whole else "unparseable"


def answered(finding: Finding) -> str | tuple[str, ...]:
    if finding.fault:
        assert finding.fault is Fault.UNPARSEABLE
        assert finding.score is None
        return "unparseable"
    assert finding.score is not None
    assert (finding.score >= 0.5) == bool(finding.categories)
    return finding.categories or "safe"


def in_batches(guard: LlamaGuard, asked: list[Question], rows: int) -> list[Finding]:
    batches = [asked[start : start + rows] for start in range(0, len(asked), rows)]
    return [finding for batch in batches for finding in guard._one_pass.judge(batch)]


@pytest.fixture(scope="module", params=["random", "stand-in"])
def rig(request: pytest.FixtureRequest) -> tuple[LlamaGuard, Any, Any]:
    if request.param == "random":
        return tuple(map(request.getfixturevalue, ("random_guard", "random_model", "processor")))  # type: ignore[return-value]
    path = weights_dir("llama-guard-4")
    model = Llama4ForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    return request.getfixturevalue("stand_in"), model, AutoProcessor.from_pretrained(path)


def test_label_and_categories_are_those_of_the_release(rig: tuple[LlamaGuard, Any, Any]) -> None:
    guard, model, processor = rig
    drawn = samples(64)
    expected = [released_answer(model, processor, sample) for sample in drawn]
    found = [answered(finding) for finding in in_batches(guard, questions(processor, drawn), 16)]
    assert found == expected
    kinds = {"lists" if isinstance(answer, tuple) else answer for answer in expected}
    assert {"safe", "lists"} <= kinds
    assert any(isinstance(answer, tuple) and len(answer) > 1 for answer in expected)


def test_a_batch_gives_what_its_rows_give_alone(rig: tuple[LlamaGuard, Any, Any]) -> None:
    guard, _, processor = rig
    asked = questions(processor, samples(32, seed=8))
    assert differences(in_batches(guard, asked, 32), in_batches(guard, asked, 1)) < 1e-4
