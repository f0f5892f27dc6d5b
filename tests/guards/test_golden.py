"""The release's own prompts: the stand-ins answer them as the release shows, and a wrong answer is told."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.fakes import FakeGuard, fake_llama_guard, fake_prompt_guard
from worker.cli.models import models_app
from worker.guards.golden import GOLDEN_PROMPTS, ask_golden_prompts
from worker.guards.guard import Finding, Guard


def _content(text: str) -> Finding:
    return Finding(0.9, ("S9",), {"S9": 0.8}) if "bomb" in text else Finding(0.1)


def _attack(text: str) -> float:
    return 0.99 if text.startswith("Ignore") else 0.01


RIGHT = (fake_llama_guard(_content), fake_prompt_guard(_attack))


def _answers(*guards: Guard) -> list[tuple[str, bool]]:
    return [(answer.got, answer.ok) for answer in ask_golden_prompts(guards)]


def test_right_answers() -> None:
    assert _answers(*RIGHT) == [(prompt.expected, True) for prompt in GOLDEN_PROMPTS]


@pytest.mark.parametrize(
    ("guard", "got"),
    [
        (fake_llama_guard(lambda text: Finding(0.9, ("S1",))), ["unsafe S1", "safe", "unsafe S1", "unsafe S1"]),
        (
            fake_llama_guard(lambda text: Finding(0.9, ("S9", "S10"))),
            ["unsafe S9,S10", "unsafe S10", *["unsafe S9,S10"] * 2],
        ),
        (fake_llama_guard(lambda text: 1 / 0), ["guard_error"] * 4),
        (fake_prompt_guard(lambda text: 0.5), ["prompt attack"] * 2),
        (fake_prompt_guard(lambda text: 0.4), ["no prompt attack"] * 2),
        (FakeGuard("prompt_guard", roles=()), ["nothing judged"] * 2),
    ],
)
def test_wrong_answers_are_told(guard: FakeGuard, got: list[str]) -> None:
    answers = _answers(guard)
    assert [answer for answer, _ in answers] == got
    assert not all(ok for _, ok in answers)


@pytest.mark.parametrize(("score_of", "code"), [(_attack, 0), (lambda text: 0.0, 1)])
def test_the_exit_code_of_check(monkeypatch: pytest.MonkeyPatch, score_of: Callable[[str], float], code: int) -> None:
    monkeypatch.setattr("worker.cli.models.settings_of", lambda context: None)
    monkeypatch.setattr(
        "worker.guards.loading.load_guards", lambda settings, say: (RIGHT[0], fake_prompt_guard(score_of))
    )
    result = CliRunner().invoke(models_app, ["check"])
    assert result.exit_code == code, result.output
    assert ("1 of 6 answers differ" in result.output) == bool(code)
    assert "stand-in" in result.output


@pytest.mark.models
def test_the_stand_ins_pass_models_check(tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODERATION_", "HF_"))}
    stand_ins = {"MODERATION_LLAMA_GUARD_MODEL": "stand-in", "MODERATION_PROMPT_GUARD_MODEL": "stand-in"}
    command = [sys.executable, "-c", "from worker.cli.main import main; main()", "models", "check"]
    environment = kept | stand_ins | {"MODERATION_DEVICE": "cpu", "MODERATION_TORCH_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == len(GOLDEN_PROMPTS)
    assert "says nothing about moderation quality" in done.stdout
