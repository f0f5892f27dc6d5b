"""The guard says what the release's own code says: `generate(do_sample=False)`, one conversation at a time.

`make fidelity` compares many (`--fidelity=full`), with a larger model too; `make test` a few.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from transformers import AutoProcessor, Llama4ForConditionalGeneration

from tests.guards.llama_guard.conftest import MODEL
from tests.guards.llama_guard.release import Answer, Released
from tests.guards.llama_guard.sampling import Sample, differences, questions, samples
from worker.bench.random_model import DIMS, random_model_of
from worker.guards.guard import Check, Fault, Finding
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.standins import weights_dir

pytestmark = pytest.mark.models

COUNTS = {
    "short": {"tiny random": 64, "stand-in": 64},
    "full": {"tiny random": 200, "stand-in": 1000, "random 46 M": 200},
}
"""Prompts by model."""
ROWS = 16
MOST_SCORE_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Rig:
    name: str
    guard: LlamaGuard
    released: Released
    count: int


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rig" in metafunc.fixturenames:
        metafunc.parametrize("rig", COUNTS[metafunc.config.getoption("fidelity")], indirect=True, scope="module")


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    name, path = request.param, weights_dir("llama-guard-4")
    processor = AutoProcessor.from_pretrained(path)
    if name == "stand-in":
        model = Llama4ForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
        guarded = request.getfixturevalue("stand_in")._one_pass._model  # as the guard loads it
    elif name == "random 46 M":
        torch.set_num_threads(2)  # the small ones are quicker with one
        model = guarded = random_model_of(processor, DIMS["46m"])
    else:
        processor = request.getfixturevalue("processor")
        model = guarded = request.getfixturevalue("random_model")
    guard = LlamaGuard.of(guarded, processor, MODEL, LlamaGuardOptions())
    count = COUNTS[request.config.getoption("fidelity")][name]
    yield Rig(name, guard, Released(model, processor), count)
    torch.set_num_threads(1)


def answered(finding: Finding) -> Answer:
    if finding.fault:
        assert finding.fault is Fault.UNPARSEABLE
        assert finding.score is None
        return "unparseable"
    assert finding.score is not None
    assert (finding.score >= 0.5) == bool(finding.categories)
    return finding.categories or "safe"


def check_of(guard: LlamaGuard, sample: Sample) -> Check:
    """From the event on: whatever happens to it before it is a prompt must not change the answer."""
    prepared = guard.prepare(sample.event, sample.policy)
    assert (prepared.complete, prepared.turns_dropped, prepared.delimiters_neutralised) == (True, 0, 0)
    (check,) = prepared.checks
    return check


def judged(guard: LlamaGuard, drawn: Sequence[Sample]) -> list[Finding]:
    checks = [check_of(guard, sample) for sample in drawn]
    return [finding for start in range(0, len(checks), ROWS) for finding in guard.judge(checks[start : start + ROWS])]


def test_label_and_categories_and_score_are_those_of_the_release(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    drawn = samples(rig.count)
    findings = judged(rig.guard, drawn)
    expected = [rig.released.answer(sample) for sample in drawn]
    scores = [rig.released.score(sample) for sample in drawn]
    worst = max(
        abs(found.score - score) for found, score in zip(findings, scores, strict=True) if found.score is not None
    )
    wrong = [number for number, found in enumerate(findings) if answered(found) != expected[number]]

    answers = Counter(answer if isinstance(answer, str) else "unsafe" for answer in expected)
    kinds = Counter(kind for sample in drawn for kind in sample.kinds)
    several = sum(isinstance(answer, tuple) and len(answer) > 1 for answer in expected)
    record_property(
        "fidelity",
        f"{rig.name}: {len(drawn)} prompts ({_told(kinds)}; {_told(answers)}, {several} with several categories): "
        f"{len(wrong)} mismatches, largest score difference {worst:.1e}, {time.monotonic() - began:.0f} s",
    )
    assert not wrong, [(number, expected[number], findings[number]) for number in wrong[:5]]
    assert worst < MOST_SCORE_DIFFERENCE
    assert {"user", "assistant", "exclusions", "one image", "several images", "earlier turns"} <= set(kinds)
    assert {"safe", "unsafe"} <= set(answers)
    assert answers["unparseable"] < len(drawn) / 10
    assert several


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def test_a_batch_gives_what_its_rows_give_alone(rig: Rig) -> None:
    asked = questions(rig.released.processor, samples(32, seed=8))
    together = rig.guard._one_pass.judge(asked)
    alone = [finding for question in asked for finding in rig.guard._one_pass.judge([question])]
    assert differences(together, alone) < MOST_SCORE_DIFFERENCE
