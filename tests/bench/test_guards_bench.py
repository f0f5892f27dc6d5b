"""The guards' benchmark runs, its ways to judge agree, and its words hold its numbers. Not how quick anything is."""

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from worker.bench.engine import run_engine
from worker.bench.guards import Bench, GuardsBench, _same
from worker.bench.guards_table import about_line, one_table, suite_table
from worker.bench.workload import Workload, jobs_of
from worker.cli.main import app
from worker.guards.guard import Fault, Finding
from worker.standins.build import Dims

pytestmark = pytest.mark.models

TINY = Dims(hidden=64, layers=2, mlp=128, vision=32)


@pytest.fixture(scope="module")
def bench() -> GuardsBench:
    return GuardsBench(Bench(TINY, batch_tokens=512, rounds=2, snippet_messages=8, unsafe_share=0.5))


def test_all_ways_to_judge_agree_on_texts_images_and_policies(bench: GuardsBench) -> None:
    said: list[str] = []
    result = bench.run(Workload("mixed", messages=12, policies=3, images=0.25), said.append)
    assert (result.answers_compared, result.answers_different) == (8, 0)
    assert said == ["warming up", "round 1 of 2", "round 2 of 2"]
    assert result.ratio_bound > 1
    assert 0 < result.matmul_share < 1
    assert 0 <= result.padding < 1

    words = Console(record=True, width=200)
    words.print(about_line(bench.about()), one_table(result), suite_table([result]))
    text = words.export_text()
    assert f"{result.ratio_snippet:.2f} x" in text
    assert "0 of 8 differ" in text
    assert "0/8" in text


def test_about_half_of_the_answers_are_unsafe_where_half_was_asked_for(bench: GuardsBench) -> None:
    jobs = jobs_of(Workload(messages=60, seed=5), bench._prompts)
    run = run_engine(bench._guard, jobs, 512, "cpu")
    unsafe = [finding for finding in run.findings if finding.categories]
    assert all(finding.fault is None for finding in run.findings)
    assert 15 <= len(unsafe) <= 45
    assert any(len(finding.categories) > 1 for finding in unsafe)
    assert len(run.batch_seconds) > 3


def test_the_command_prints_one_json_object_with_the_ratios() -> None:
    small = "hidden=64,layers=2,mlp=128,vision=32,heads=4,head_dim=32"
    done = CliRunner().invoke(
        app, ["bench", "guards", "--dims", small, "--messages", "4", "--rounds", "1", "--device", "cpu", "--json"]
    )
    assert done.exit_code == 0, done.output
    found = orjson.loads(done.stdout)
    assert {"ratio_snippet", "ratio_padded", "ratio_bound", "matmul_share", "device", "torch", "dims"} <= set(found)
    assert found["dims"]["hidden"] == 64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--dims", "12b"], "name=number"), (["--dims", "hiden=3"], "hidden"), (["--lengths", "huge"], "mixed")],
)
def test_wrong_arguments_say_what_is_possible(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["bench", "guards", *arguments])
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(
    ("said", "finding", "same"),
    [
        ("\n\nsafe", Finding(0.1), True),
        ("\n\nsafe", Finding(None, fault=Fault.UNPARSEABLE), False),
        ("gibberish", Finding(None, fault=Fault.UNPARSEABLE), True),
        ("", Finding(0.1), False),
        ("\n\nunsafe\nS9", Finding(0.9, ("S9",)), True),
        ("\n\nunsafe\nS9", Finding(0.9, ("S9", "S1")), False),
        ("\n\nunsafe", Finding(0.9, ("S9",)), False),
        ("\n\nunsafe\nS9,S1,S2,S", Finding(0.9, ("S9", "S1", "S2", "S3")), True),
        ("\n\nunsafe\nS9,S1,S2,S", Finding(0.9, ("S9", "S2", "S1", "S3")), False),
    ],
)
def test_answers_are_compared_strictly(said: str, finding: Finding, same: bool) -> None:
    assert _same(said, finding) is same
