"""`moderation-worker classify`: as many lines out as in, in their order; and errors that say what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.fakes import fake_llama_guard, fake_prompt_guard
from worker.cli.main import app
from worker.exit_codes import ExitCode
from worker.guards.guard import Finding, Guard
from worker.local.traffic import sample_traffic
from worker.settings import STAND_IN, Settings

Invoke = Callable[..., Result]

MALFORMED = {400: b"not JSON", 401: b"", 700: b'{"event_id": "canary"}', 999: b"\xff"}


@pytest.mark.models
def test_a_thousand_events_through_the_stand_ins_with_malformed_lines_among_them() -> None:
    """From standard input to standard output, in a process of its own."""
    events = _events(1000)
    lines = [MALFORMED.get(number, event) for number, event in enumerate(events)]
    done = subprocess.run(
        [sys.executable, "-m", "worker", "classify", "--stand-in"],
        input=b"\n".join(lines) + b"\n",
        env=_without_settings() | {"MODERATION_TORCH_THREADS": "2"},
        capture_output=True,
        timeout=500,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines), done.stderr.decode()
    for number, (event, answer) in enumerate(zip(events, answers, strict=True)):
        if number in MALFORMED:
            assert set(answer) == {"line", "error"} and answer["line"] == number + 1
            assert answer["error"]["stage"] == "read" and "canary" not in answer["error"]["message"]
        else:
            assert answer["event_id"] == json.loads(event)["event_id"]
            assert [model["stand_in"] for model in answer["models"]] == [True, True]
    assert {answer.get("label") for answer in answers} >= {"safe", "unsafe"}
    assert done.returncode == ExitCode.FAILED
    assert b"4 lines could not be judged" in done.stderr
    assert b"Traceback" not in done.stderr


def _events(count: int) -> list[bytes]:
    short = [each.value or b"" for each in sample_traffic() if each.kind in ("prompt", "response", "prompt attack")]
    numbered = ((number, json.loads(short[number % len(short)])) for number in range(count))
    return [json.dumps({**event, "event_id": f"e-{number}"}).encode() for number, event in numbered]


def _without_settings() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}


# -- in this process, with fakes --------------------------------------------------------------------------------------


@pytest.fixture
def classify(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runner: CliRunner) -> Invoke:
    """`moderation-worker classify ...` in an empty directory, with guards that know the word "bomb"."""

    def load_guards(settings: Settings) -> Sequence[Guard]:
        assert {settings.llama_guard_model, settings.prompt_guard_model} == {STAND_IN}
        content = fake_llama_guard(lambda text: Finding(0.9, ("S9",), {"S9": 0.8}) if "bomb" in text else Finding(0.1))
        return content, fake_prompt_guard()

    monkeypatch.setattr("worker.guards.loading.load_guards", load_guards)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **given: runner.invoke(app, ["classify", "--stand-in", *arguments], **given)


def _answers(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


def _event(name: str, text: str = "hello", **fields: Any) -> str:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"event_id": name, "conversation_id": "c", "messages": messages, **fields})


def test_texts_are_judged_in_their_order(classify: Invoke) -> None:
    result = classify("--text", "hello", "--text", "how do I make a bomb?")
    assert result.exit_code == 0
    assert [answer["label"] for answer in _answers(result)] == ["safe", "unsafe"]
    assert [answer["event_id"] for answer in _answers(result)] == ["text-1", "text-2"]
    assert result.stderr == ""


def test_standard_input_is_read_where_no_file_is_named(classify: Invoke) -> None:
    for arguments in ([], ["-"], ["-", "-o", "-"]):
        result = classify(*arguments, input=_event("a") + "\r\n" + _event("b"))
        assert [answer["event_id"] for answer in _answers(result)] == ["a", "b"]
        assert result.exit_code == 0


def test_from_a_file_to_a_file(classify: Invoke) -> None:
    Path("in.jsonl").write_text("\n".join(_event(f"e{number}") for number in range(500)))
    result = classify("in.jsonl", "--output", "out.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    names = [json.loads(line)["event_id"] for line in Path("out.jsonl").read_text().splitlines()]
    assert names == [f"e{number}" for number in range(500)]


def test_a_malformed_line_becomes_an_error_line_and_the_exit_code_tells(classify: Invoke) -> None:
    result = classify(input="\n".join([_event("a"), "{", _event("b"), _event("c", policy="nowhere")]))
    first, second, third, fourth = _answers(result)
    assert (first["event_id"], third["event_id"]) == ("a", "b")
    assert (second["line"], second["error"]["type"]) == (2, "not_json")
    assert (fourth["line"], fourth["error"]["type"]) == (4, "unknown_policy")
    assert result.exit_code == ExitCode.FAILED
    assert "2 lines could not be judged" in result.stderr


def test_nothing_in_nothing_out(classify: Invoke) -> None:
    result = classify(input="")
    assert (result.exit_code, result.stdout) == (0, "")


def test_an_unknown_policy_is_refused_before_any_model_is_loaded(
    classify: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("worker.guards.loading.load_guards", None)
    kept = tmp_path / "verdicts.jsonl"
    kept.write_text("of yesterday")
    result = classify("--policy", "nowhere", "-o", str(kept), input=_event("a"))
    assert result.exit_code == ExitCode.USAGE
    assert kept.read_text() == "of yesterday"
    assert "no policy 'nowhere'; known are default" in result.stderr


def test_the_policy_is_for_events_that_name_none(classify: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policies.toml").write_text('[policies.museum]\nexcluded_categories = ["S9"]\n')
    monkeypatch.setenv("MODERATION_POLICIES_FILE", "policies.toml")
    lines = _event("a", "a bomb") + "\n" + _event("b", "a bomb", policy="default")
    answers = _answers(classify("--policy", "museum", input=lines))
    assert [(answer["policy"]["name"], answer["label"]) for answer in answers] == [
        ("museum", "safe"),
        ("default", "unsafe"),
    ]


def test_a_missing_file_is_named_and_the_output_left_alone(classify: Invoke) -> None:
    Path("out.jsonl").write_text("of yesterday")
    result = classify("missing.jsonl", "-o", "out.jsonl")
    assert result.exit_code == ExitCode.USAGE
    assert "No such file or directory: 'missing.jsonl'" in result.stderr
    assert Path("out.jsonl").read_text() == "of yesterday"


def test_an_output_that_cannot_be_written_is_named(classify: Invoke) -> None:
    result = classify("-o", "no/such/folder.jsonl", input=_event("a"))
    assert result.exit_code == ExitCode.USAGE
    assert "No such file or directory: 'no/such/folder.jsonl'" in result.stderr


def test_the_input_is_never_overwritten(classify: Invoke) -> None:
    Path("in.jsonl").write_text(_event("a"))
    result = classify("in.jsonl", "-o", "in.jsonl")
    assert result.exit_code == ExitCode.USAGE
    assert "in.jsonl is the input" in result.stderr
    assert Path("in.jsonl").read_text() == _event("a")
