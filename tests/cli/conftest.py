"""Commands run in this process: without settings of its environment, on a wide terminal."""

import os

import pytest
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither settings of the environment, nor logs configured for the whole test process."""
    monkeypatch.setattr("worker.cli.context.configure_logs", lambda *_: None)
    for name in [name for name in os.environ if name.startswith("MODERATION_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
