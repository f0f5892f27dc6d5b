"""`moderation-worker evaluate` and `calibrate`: figures by hand, reports that are there, errors that say what to do."""

import json
import random
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from tests.fakes import fake_llama_guard, fake_prompt_guard
from worker.cli.main import app
from worker.evaluation.report import STAND_IN_WARNING
from worker.evaluation.sample_data import sample_rows
from worker.exit_codes import ExitCode
from worker.guards.guard import Finding, Guard
from worker.settings import STAND_IN, Settings

Invoke = Callable[..., Result]


def score_of(text: str) -> Finding:
    """The text is the score."""
    score = float(text)
    return Finding(score, ("S1",) if score > 0 else (), {"S1": score} if score > 0 else {})


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runner: CliRunner) -> Invoke:
    """`moderation-worker ...` in an empty directory, with guards to whom the text is its score."""

    def load_guards(settings: Settings) -> Sequence[Guard]:
        assert {settings.llama_guard_model, settings.prompt_guard_model} == {STAND_IN}
        return fake_llama_guard(score_of), fake_prompt_guard(float)

    monkeypatch.setattr("worker.evaluation.run.load_guards", load_guards)
    monkeypatch.chdir(tmp_path)
    return lambda command, *arguments: runner.invoke(app, [command, "--stand-in", *arguments])


def rows(*rows: Any, to: str = "data.jsonl") -> None:
    Path(to).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def labelled(*scores: float, unsafe: bool, **more: Any) -> list[dict[str, Any]]:
    return [{"text": str(score), "label": "unsafe" if unsafe else "safe", **more} for score in scores]


def report(directory: str = "evaluation") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(directory) / "report.json").read_text())
    return found


def test_figures_by_hand_and_all_reports(invoke: Invoke) -> None:
    rows(
        *labelled(0.9, 0.8, 0.2, unsafe=True, group="english", categories=["S1"]),
        *labelled(0.1, 0.7, unsafe=False, group="english", categories=["S1"]),
        *labelled(0.9, unsafe=True, group="english", categories=["S2"]),
        *labelled(0.3, unsafe=False, group="english", categories=["S2"]),
        {"text": "0.97", "prompt_attack": True},
        {"text": "0.02", "prompt_attack": False},
    )
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == 0, result.output
    assert STAND_IN_WARNING in result.stdout and "evaluation/report.html" in result.stdout
    english = report()["release"]["english"]
    assert english["recall"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert english["false_positive_rate"]["value"] == pytest.approx((1 / 2 + 0) / 2)
    assert english["f1"]["value"] == pytest.approx((4 / 6 + 1) / 2)
    assert report()["attacks"]["curve"]["auc"]["value"] == 1.0
    assert report()["header"]["policy_name"] == "default"
    for form in ("html", "md"):
        assert STAND_IN_WARNING in (Path("evaluation") / f"report.{form}").read_text()
    lines = [json.loads(line) for line in Path("evaluation/results.jsonl").read_text().splitlines()]
    assert not {"text", "messages", "event"} & {key for line in lines for key in line}  # no content


@pytest.mark.models
def test_the_sample_data_through_the_stand_ins(tmp_path: Path) -> None:
    """As docs/evaluation.md has it, with fewer rows: text, responses, pictures, attacks."""
    data = tmp_path / "samples.jsonl"
    data.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in sample_rows(rounds=1)))
    result = CliRunner().invoke(app, ["evaluate", "--stand-in", str(data), "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["skipped"]["unreadable"] == found["skipped"]["unjudgeable"] == 0
    assert set(found["release"]) == {"english", "single_image", "multi_image"}
    assert found["release"]["english"]["recall"]["value"] > 0.9
    assert found["attacks"]["measures"]["recall"]["value"] > 0.8
    assert [model["stand_in"] for model in found["header"]["models"]] == [True, True]


def test_bad_rows_are_named_and_the_rest_goes_on(invoke: Invoke) -> None:
    rows(*labelled(0.9, unsafe=True), "{", {"text": "0.1"}, *labelled(0.1, unsafe=False, group="forum"))
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == 0
    assert "skipped data.jsonl:2: not JSON" in result.stderr and "skipped data.jsonl:3: no label" in result.stderr
    assert "3 rows skipped, 1 examples go on" in result.stderr
    assert "note: all labelled content is unsafe" in result.stderr and "note: 1 example:" in result.stderr
    assert report()["skipped"]["unreadable"] == 3
    assert invoke("evaluate", "data.jsonl", "--group", "forum", "-o", "with-forum").exit_code == 0
    assert set(report("with-forum")["groups"]) == {"ungrouped", "forum"}


def test_nothing_to_judge_is_an_error_before_any_model_is_loaded(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.evaluation.run.load_guards", None)
    rows("{", {"text": "0.1"})
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == ExitCode.FAILED and "nothing to judge: no example in data.jsonl" in result.stderr
    for arguments, said in (
        (["missing.jsonl"], "there is no such file"),
        (["data.jsonl", "--policy", "x"], "no policy 'x'"),
    ):
        result = invoke("evaluate", *arguments)
        assert result.exit_code == ExitCode.USAGE and said in result.stderr
    assert not Path("evaluation").exists()


def test_nothing_judged_is_an_error(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policies.toml").write_text('[policies.default]\nexcluded_categories = ["S1"]\n')
    rows(*labelled(0.9, 0.8, unsafe=True, categories=["S1"]))
    monkeypatch.setenv("MODERATION_POLICIES_FILE", "policies.toml")
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == ExitCode.FAILED
    assert "nothing was judged: excluded: the policy excludes or ignores all its categories" in result.stderr


def test_another_data_set_in_the_same_directory_is_refused(invoke: Invoke) -> None:
    rows(*labelled(0.9, unsafe=True), *labelled(0.1, unsafe=False))
    assert invoke("evaluate", "data.jsonl").exit_code == 0
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == 0 and "2 examples were judged by an earlier start" in result.stderr
    before = Path("evaluation/results.jsonl").read_bytes()
    rows(*labelled(0.9, unsafe=False))
    result = invoke("evaluate", "data.jsonl")
    assert result.exit_code == ExitCode.USAGE and "holds results of other data" in result.stderr
    assert Path("evaluation/results.jsonl").read_bytes() == before


def test_two_policies_compared(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(*labelled(0.9, 0.6, unsafe=True), *labelled(0.1, 0.55, unsafe=False))
    assert invoke("evaluate", "data.jsonl").exit_code == 0
    Path("policies.toml").write_text("[policies.strict]\nunsafe_threshold = 0.58\n")
    monkeypatch.setenv("MODERATION_POLICIES_FILE", "policies.toml")
    arguments = ("--policy", "strict", "-o", "strict", "--compare", "evaluation/report.json")
    result = invoke("evaluate", "data.jsonl", *arguments)
    assert result.exit_code == 0, result.output
    assert "became right: 1, became wrong: 0, of 4 shared" in result.stdout
    found = report("strict")["comparison"]
    assert found["differences"]["All examples"]["false_positive_rate"]["value"] == -0.5
    result = invoke("evaluate", "data.jsonl", "--policy", "strict", "-o", "strict", "--compare", "nowhere")
    assert result.exit_code == ExitCode.USAGE and "nowhere: No such file" in result.stderr


# -- calibrate --------------------------------------------------------------------------------------------------------


def calibration_data(safe: int = 3500, unsafe: int = 300) -> None:
    rng = random.Random(3)
    many = [*labelled(*(round(rng.random() ** 3, 6) for _ in range(safe)), unsafe=False)]
    many += labelled(*(round(1 - rng.random() ** 6, 6) for _ in range(unsafe)), unsafe=True)
    rows(*({**row, "id": number} for number, row in enumerate(many)))


def test_a_threshold_from_labelled_data_and_from_its_run(invoke: Invoke) -> None:
    calibration_data()
    result = invoke("calibrate", "data.jsonl", "--target-fpr", "0.01", "-o", "new.toml")
    assert result.exit_code == 0, result.output
    assert "new.toml: unsafe_threshold of the policy default" in result.stdout and STAND_IN_WARNING in result.stdout
    text = Path("new.toml").read_text()
    threshold = _threshold("new.toml")
    assert 0.95 < threshold < 0.99  # 0.99 ** 3 is right: 0.9703
    assert "by STAND-INS" in text
    result = invoke("calibrate", "calibration", "--target-fpr", "0.01", "-o", "again.toml")
    assert result.exit_code == 0 and _threshold("again.toml") == threshold
    result = invoke("calibrate", "calibration", "--target-fpr", "0.01", "-o", "new.toml")
    assert result.exit_code == ExitCode.USAGE and "new.toml is there already; --force writes over it" in result.stderr
    assert invoke("calibrate", "calibration", "--target-fpr", "0.02", "-o", "new.toml", "--force").exit_code == 0
    assert _threshold("new.toml") < threshold


def _threshold(file: str) -> float:
    found: float = tomllib.loads(Path(file).read_text())["policies"]["default"]["unsafe_threshold"]
    return found


def test_data_too_small_for_the_claim_writes_nothing(invoke: Invoke) -> None:
    calibration_data(safe=600, unsafe=50)
    result = invoke("calibrate", "data.jsonl", "--target-fpr", "0.01", "-o", "new.toml")
    assert result.exit_code == ExitCode.FAILED and not Path("new.toml").exists()
    assert "753 are needed, so about 1506 safe examples in all" in result.stdout
    assert "not written" in result.stdout and "calibrated" not in result.stdout
    result = invoke("calibrate", "calibration", "--target-fpr", "0.01", "-o", "new.toml", "--small-data")
    assert result.exit_code == 0 and "TOO FEW to vouch for it" in Path("new.toml").read_text()
    assert "calibrated" in result.stdout and "not written" not in result.stdout


def test_a_run_under_other_exclusions_is_refused(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(*labelled(0.9, unsafe=True), *labelled(0.1, unsafe=False))
    assert invoke("evaluate", "data.jsonl").exit_code == 0
    Path("policies.toml").write_text('[policies.museum]\nexcluded_categories = ["S9"]\n')
    monkeypatch.setenv("MODERATION_POLICIES_FILE", "policies.toml")
    result = invoke("calibrate", "evaluation", "--policy", "museum", "--target-recall", "0.9")
    assert result.exit_code == ExitCode.USAGE
    assert "was judged under default with other excluded_categories than those of museum" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --target-fpr and --target-recall"),
        (["--target-fpr", "0.01", "--target-recall", "0.9"], "give one of"),
        (["--target-fpr", "0"], "must be between 0 and 0.5"),
        (["--target-recall", "0.4"], "between 0.5 and 1"),
        (["--target-recall", "1"], "between 0.5 and 1"),
    ],
)
def test_targets_that_are_none(invoke: Invoke, arguments: list[str], said: str) -> None:
    result = invoke("calibrate", "data.jsonl", *arguments)
    assert result.exit_code == ExitCode.USAGE and said in result.stderr
