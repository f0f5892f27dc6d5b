"""Whose file a journal is: each live worker's own, and of a dead one its successor's."""

import os
from pathlib import Path

import pytest

from worker.stream.poison import journal_file
from worker.stream.poison.journal import open_journal
from worker.stream.poison.journal_file import claim, default_directory


def test_two_live_workers_never_share_a_file(tmp_path: Path) -> None:
    first, second = (claim(tmp_path, "group", "topic") for _ in range(2))
    assert first.path != second.path


def test_a_restarted_worker_takes_over_the_file_of_the_one_that_died_last(tmp_path: Path) -> None:
    claimed = [claim(tmp_path, "group", "topic") for _ in range(3)]
    for seconds, file in zip((50, 70, 60), claimed, strict=True):
        os.utime(file.path, (seconds, seconds))
    for file in claimed[:2]:
        os.close(file.descriptor)
    assert claim(tmp_path, "group", "topic").path == claimed[1].path
    assert claim(tmp_path, "group", "topic").path == claimed[0].path
    assert claim(tmp_path, "group", "topic").path not in {file.path for file in claimed}


@pytest.mark.parametrize(
    ("group", "topic"), [("other", "topic"), ("group", "other"), ("../group", "topic"), ("g" * 300, "t"), ("é*?[", "t")]
)
def test_groups_and_topics_have_files_of_their_own(tmp_path: Path, group: str, topic: str) -> None:
    file = claim(tmp_path, "group", "topic")
    os.close(file.descriptor)
    other = claim(tmp_path, group, topic)
    assert other.path != file.path
    assert other.path.parent == tmp_path
    os.close(other.descriptor)
    assert claim(tmp_path, group, topic).path == other.path


def test_the_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "b", "group", "topic")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert default_directory().parent.name == f"moderation-worker-{os.getuid()}"


def test_a_discarded_file_is_gone_and_another_is_begun(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, "group", "topic", 8)
    journal.discard()
    journal.discard()
    assert list(tmp_path.iterdir()) == []
    open_journal(tmp_path, "group", "topic", 8)
    assert len(list(tmp_path.iterdir())) == 1


def test_who_locks_a_file_that_was_discarded_meanwhile_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claim(tmp_path, "group", "topic")

    def slow_open(path: Path, *arguments: int, real: object = os.open) -> int:
        descriptor = real(path, *arguments)  # type: ignore[operator]
        monkeypatch.undo()
        first.path.unlink()
        os.close(first.descriptor)
        return descriptor  # type: ignore[no-any-return]

    monkeypatch.setattr(journal_file.os, "open", slow_open)
    second = claim(tmp_path, "group", "topic")
    assert os.fstat(second.descriptor).st_ino == second.path.stat().st_ino
