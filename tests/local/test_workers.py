"""Worker processes of the demo, the benchmarks and the tests."""

from pathlib import Path

import pytest

from worker.local.workers import WorkerProcess

TELL = ("-c", "from worker.settings import load_settings as load; print(load().group, load().ordering)")


def test_only_the_given_settings_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setenv("MODERATION_GROUP", "of-this-process")
    (tmp_path / "moderation.toml").write_text('group = "of-the-file"\nordering = "none"\n')
    monkeypatch.chdir(tmp_path)
    with WorkerProcess("worker", {"MODERATION_GROUP": "given"}, tmp_path, TELL) as worker:
        worker.wait(60)
    assert worker.log.read_text().split() == ["given", "key"]
