"""`moderation-worker stress` without Kafka: what it says on the way and in the end."""

import uuid
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from worker.cli.main import app
from worker.exit_codes import ExitCode
from worker.local.stress_tally import StressReport, StressTally


class _Sent:
    """A run of 30 s in which three events are sent and one is answered."""

    def __init__(self, *_: object) -> None:
        self.tally = StressTally()

    async def run(self, refresh: Callable[[], None]) -> StressReport:
        events = [uuid.uuid4() for _ in range(3)]
        for event in events:
            self.tally.sent(event, 1.0)
        self.tally.answered(events[0], "safe", 1.5)
        for _ in range(60):
            refresh()
        return self.tally.report(30.0)


def test_where_there_is_no_terminal_a_line_says_every_ten_seconds_how_it_goes(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.local.stress.Stress", _Sent)
    result = runner.invoke(app, ["stress"])
    assert result.exit_code == ExitCode.FAILED
    line = "3 sent, 2 on their way, 0 twice, p50 lately 500 ms"
    failed = "failed: 2 without an outcome, more than 0: lost, or waiting still? (--wait, --rate)"
    assert result.stderr.splitlines() == [line] * 3 + [failed]
    assert "3 sent in 30.0 s, 1 answered: 1 safe. 2 without an outcome, 0 duplicated" in result.stdout
