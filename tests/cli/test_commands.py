"""The other commands, and what all of them have in common."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from worker import __version__
from worker.bench.stream import MeasurementFailed
from worker.cli import main as module
from worker.cli.main import app
from worker.exit_codes import ExitCode
from worker.local.broker import LocalKafka
from worker.local.ports import free_ports
from worker.local.workers import WorkerDied

ROOT = Path(__file__).parents[2]
# Prints, for each command and group, the exit code of its --help and the heavy modules that were imported for it.
ASK_ALL_FOR_HELP = """
import json, sys
import typer
from typer.testing import CliRunner
from worker.cli.main import app

def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))

heavy = ("torch", "transformers", "faust", "aiokafka", "huggingface_hub", "PIL")
found = {}
for path in paths(typer.main.get_command(app)):
    result = CliRunner().invoke(app, [*path, "--help"])
    loaded = [name for name in heavy if name in sys.modules]
    found[" ".join(path)] = [result.exit_code, "Usage:" in result.stdout, loaded]
print(json.dumps(found))
"""


def test_the_help_of_every_command_works_and_loads_nothing_heavy() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASK_ALL_FOR_HELP], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    expected = {"", "run", "demo", "classify", "topics", "topics create", "topics check", "models", "schemas"}
    assert found.keys() >= expected
    assert all(answer == [0, True, []] for answer in found.values()), found


@pytest.mark.parametrize("error", [WorkerDied("worker ended"), MeasurementFailed("too few events")])
def test_a_measurement_that_failed_says_why(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("worker.bench.stream.bench_stream", Mock(side_effect=error))
    monkeypatch.setattr(sys, "argv", ["moderation-worker", "bench", "stream"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == ExitCode.FAILED
    assert capsys.readouterr().err == f"error: {error}\n"


def test_the_help_names_every_exit_code(runner: CliRunner) -> None:
    _, _, said = " ".join(runner.invoke(app, ["--help"]).stdout.split()).partition("Exit codes: ")
    assert [code for code in ExitCode if not re.search(rf"\b{code.value} [a-z]", said)] == []


def test_version(runner: CliRunner) -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"moderation-worker {__version__}\n")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MODERATION_BATCH_WAIT_MS", "soon", "setting batch_wait_ms (MODERATION_BATCH_WAIT_MS)"),
        ("MODERATION_CONFIG", "no-such.toml", "cannot read the settings file no-such.toml"),
        (
            "MODERATION_INPUT_TOPICS",
            "a",
            "unknown setting MODERATION_INPUT_TOPICS; did you mean MODERATION_INPUT_TOPIC?",
        ),
        ("MODERATION_POLICIES_FILE", "[red].toml", "[red].toml: cannot read the policies file"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_78(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["moderation-worker", "classify", "--stand-in", "--text", "hello"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error
    assert error.count("\n") == 1


# -- schemas ----------------------------------------------------------------------------------------------------------


def test_generated_files_are_written_and_then_up_to_date(runner: CliRunner, tmp_path: Path) -> None:
    folder = ["--directory", str(tmp_path / "new")]
    assert runner.invoke(app, ["schemas", "--check", *folder]).exit_code == ExitCode.FAILED
    assert "wrote " in runner.invoke(app, ["schemas", *folder]).stdout
    again = runner.invoke(app, ["schemas", *folder])
    assert (again.exit_code, again.stdout) == (0, "")
    assert runner.invoke(app, ["schemas", "--check", *folder]).exit_code == 0


def test_the_generated_files_of_the_repository_are_up_to_date(runner: CliRunner) -> None:
    result = runner.invoke(app, ["schemas", "--check", "--directory", str(ROOT)])
    assert result.exit_code == 0, result.stderr


def test_generated_files_that_drifted_are_named_and_not_touched(runner: CliRunner, tmp_path: Path) -> None:
    runner.invoke(app, ["schemas", "--directory", str(tmp_path)])
    names = ("verdict", "chat-event", "old")
    changed, removed, left_over = (tmp_path / "schemas" / f"{name}.schema.json" for name in names)
    changed.write_text("{}")
    removed.unlink()
    left_over.write_text("{}")
    page, other_page = tmp_path / "docs" / "settings.md", tmp_path / "docs" / "metrics.md"
    page.write_text("# Settings")
    other_page.unlink()
    result = runner.invoke(app, ["schemas", "--check", "--directory", str(tmp_path)])
    assert result.exit_code == ExitCode.FAILED
    assert all(path.name in result.stderr for path in (changed, removed, left_over, page, other_page))
    assert "verdict-headers" not in result.stderr
    assert (changed.read_text(), removed.exists(), page.read_text()) == ("{}", False, "# Settings")


# -- topics -----------------------------------------------------------------------------------------------------------


def test_topics_are_checked_and_created_and_left_as_they_are(
    runner: CliRunner, kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"cli-{uuid.uuid4().hex[:8]}-{kind}" for kind in ("input", "safe", "unsafe", "review", "dead_letter")]
    for name in names:
        monkeypatch.setenv(f"MODERATION_{name.rpartition('-')[2].upper()}_TOPIC", name)
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)

    before = runner.invoke(app, ["topics", "check"])
    assert before.exit_code == ExitCode.FAILED
    remedy = "create it with `moderation-worker topics create`"
    assert before.stderr.splitlines() == [f"topic {name} does not exist: {remedy}" for name in names]

    created = runner.invoke(app, ["topics", "create", "--partitions", "3"])
    assert created.exit_code == 0, created.stderr
    assert created.stdout.splitlines() == [f"topic {name} created: partitions 3, copies 1" for name in names]

    again = runner.invoke(app, ["topics", "create", "--partitions", "5"])
    assert again.exit_code == 0
    left = "exists, left as it is: partitions 3, copies 1"
    assert again.stdout.splitlines() == [f"topic {name} {left}" for name in names]

    after = runner.invoke(app, ["topics", "check"])
    assert (after.exit_code, after.stderr) == (0, "")
    assert "the broker answers" in after.stdout


def test_topics_that_cannot_be_created_are_a_failure(
    runner: CliRunner, kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("MODERATION_INPUT_TOPIC", "not a topic name!")
    result = runner.invoke(app, ["topics", "create", "--partitions", "1"])
    assert result.exit_code == ExitCode.FAILED
    assert "topic not a topic name! cannot be created" in result.stderr


def test_a_broker_that_does_not_answer_is_named(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", nobody)
    result = runner.invoke(app, ["topics", "check"])
    assert result.exit_code == ExitCode.FAILED
    assert f"broker {nobody} cannot be reached" in result.stderr


def test_a_broker_that_does_not_answer_is_named_when_topics_are_to_be_created(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", nobody)
    result = runner.invoke(app, ["topics", "create"])
    assert result.exit_code == ExitCode.CONFIG
    assert f"no topic can be created on {nobody}" in result.stderr


def test_topics_that_take_smaller_records_than_may_be_published_are_named(
    runner: CliRunner, topics: Callable[..., str], kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    for setting in ("INPUT", "SAFE", "UNSAFE", "REVIEW", "DEAD_LETTER"):
        monkeypatch.setenv(f"MODERATION_{setting}_TOPIC", topics(config={"max.message.bytes": "1048588"}))
    assert runner.invoke(app, ["topics", "check"]).exit_code == 0, "the defaults fit Kafka's own"
    monkeypatch.setenv("MODERATION_MAX_RECORD_BYTES", "2000000")
    result = runner.invoke(app, ["topics", "check"])
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.count("takes records of at most 1048588 bytes, and max_record_bytes is 2000000") == 4
