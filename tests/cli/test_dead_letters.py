"""The arguments of `dead-letters`: what cannot be meant is refused before anything is asked of Kafka."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from typer.testing import CliRunner

from worker.cli import dead_letters as module
from worker.cli import main
from worker.cli.main import app
from worker.exit_codes import ExitCode
from worker.local.ports import free_ports
from worker.stream.dead_letters.replay import Replay, ReplayOptions
from worker.stream.dead_letters.selection import Selection


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--since", "yesterday"], "'yesterday' is no ISO 8601 time"),
        (["list", "--since", "2026-07-02", "--until", "2026-07-01"], "--since must be before --until"),
        (["list", "--limit", "0"], "Invalid value for '--limit'"),
        (["show"], "Missing argument"),
        (["show", "0"], "'0' is no partition and offset, such as 3 812 or 3/812"),
        (["show", "one", "2"], "'one/2' is no partition and offset"),
        (["show", "0/1", "2"], "'0/1/2' is no partition and offset"),
        (["show", "--", "-1", "2"], "'-1/2' is no partition and offset"),
        (["replay", "--max-replays", "0"], "Invalid value for '--max-replays'"),
        (["replay", "--to", "moderation.verdicts.safe"], "moderation.verdicts.safe is an output topic of the worker"),
        (["replay", "--to", "moderation.dead-letters"], "moderation.dead-letters is an output topic of the worker"),
        (["replay", "--group", "moderation-worker"], "moderation-worker is the group of the workers"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(runner: CliRunner, arguments: list[str], told: str) -> None:
    result = runner.invoke(app, ["dead-letters", *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert told in result.stderr


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2026-07-01", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T12:30:00Z", datetime(2026, 7, 1, 12, 30, tzinfo=UTC)),
        ("2026-07-01T12:30:00+02:00", datetime(2026, 7, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_time_without_a_zone_is_utc(words: str, moment: datetime) -> None:
    assert module._moment(words) == moment


def test_the_options_of_a_replay_reach_it(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ReplayOptions] = []

    async def run(self: Any) -> None:
        seen.append(self._options)

    monkeypatch.setattr(Replay, "run", run)
    monkeypatch.setenv("MODERATION_GROUP", "mine")
    filters = ["--cause", "a", "--cause", "b", "--source-topic", "t", "--until", "2026-07-01"]
    others = ["--to", "x", "--max-replays", "5", "--from-beginning", "--dry-run"]
    assert runner.invoke(app, ["dead-letters", "replay"]).exit_code == 0
    assert runner.invoke(app, ["dead-letters", "replay", *filters, *others, "--group", "g"]).exit_code == 0
    selection = Selection(("a", "b"), ("t",), None, datetime(2026, 7, 1, tzinfo=UTC))
    assert seen == [
        ReplayOptions(Selection(), "mine-replay"),
        ReplayOptions(selection, "g", "x", 5, from_beginning=True, dry_run=True),
    ]


def test_a_replay_ends_what_it_is_at_when_it_is_told_to_stop(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(self: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not self._stopping:  # noqa: ASYNC110  # what a signal sets
            await asyncio.sleep(0.01)
        self.result.ended_early = True

    monkeypatch.setattr(Replay, "run", run)
    result = runner.invoke(app, ["dead-letters", "replay"])
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "run it again to go on where it ended" in result.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "0", "0"], ["replay"]])
def test_a_broker_that_does_not_answer_is_one_line_and_exit_code_78(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", nobody)
    monkeypatch.setattr(sys, "argv", ["moderation-worker", "dead-letters", *command])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert f"broker {nobody} cannot be reached" in error and error.count("\n") == 1
