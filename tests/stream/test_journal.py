"""The journal: names outlive the process, each live worker has a file of its own, and no fault of a file is fatal."""

import contextlib
import errno
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.observability import metrics
from worker.stream.poison import journal as journal_module
from worker.stream.poison.journal import NO_SLOT, Corrupt, Journal, open_journal, traces_of
from worker.stream.poison.suspects import Name, Trace

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
PAGE = 4096


def name(offset: int) -> Name:
    return Name(3, offset, 1_700_000_000_000)


def opened(directory: Path, *, capacity: int = 8, group: str = "group") -> tuple[Journal, list[Trace]]:
    return open_journal(directory, group, "topic", capacity)


def only_file(directory: Path) -> Path:
    (path,) = directory.glob("*.journal")
    return path


def written(directory: Path) -> list[Trace]:
    return traces_of(only_file(directory).read_bytes())


def failing() -> float:
    return float(metrics.JOURNAL_FAILING._value.get())


# -- names


def test_what_was_written_is_found_by_the_next_process(tmp_path: Path) -> None:
    first, found = opened(tmp_path)
    assert found == []
    first.add(name(1), 2, True)
    gone = first.add(name(2), 0, True)
    changed = first.add(name(3), 1, True)
    first.remove(gone)
    first.change(changed, name(3), 1, False)
    first.write()
    first.close()
    _, found = opened(tmp_path)
    assert sorted(found) == [Trace(name(1), 2, True), Trace(name(3), 1, False)]


@given(st.integers(-(1 << 31), (1 << 31) - 1), INT64, INT64, st.integers(0, 255), st.booleans())
def test_every_name_comes_back(partition: int, offset: int, timestamp: int, kills: int, in_flight: bool) -> None:
    trace = Trace(Name(partition, offset, timestamp), kills, in_flight)
    journal = Journal(None, 1)
    journal.add(*trace)
    assert traces_of(bytes(journal._table)) == [trace]


def test_what_is_not_written_yet_is_not_in_the_file(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.write()
    journal.add(name(1), 0, True)
    assert written(tmp_path) == []
    journal.write()
    assert written(tmp_path) == [Trace(name(1), 0, True)]


def test_a_write_is_one_call_and_only_as_long_as_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened(tmp_path, capacity=1000)
    journal.write()
    calls: list[int] = []

    def pwrite(descriptor: int, data: memoryview, start: int, real: object = os.pwrite) -> int:
        calls.append(len(data))
        return real(descriptor, data, start)  # type: ignore[operator, no-any-return]

    monkeypatch.setattr(journal_module.os, "pwrite", pwrite)
    for offset in range(10):
        journal.add(name(offset), 0, True)
    journal.write()
    journal.write()
    assert calls == [320]


def test_a_journal_is_bounded_and_what_finds_no_slot_goes_unnamed(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, capacity=2)
    slots = [journal.add(name(offset), 0, True) for offset in range(3)]
    assert slots[2] == NO_SLOT
    journal.change(NO_SLOT, name(2), 1, True)
    journal.remove(NO_SLOT)
    journal.write()
    assert len(written(tmp_path)) == 2
    assert only_file(tmp_path).stat().st_size == 64 + 2 * 32
    journal.remove(slots[0])
    assert journal.add(name(3), 0, True) == slots[0]


def test_a_smaller_table_leaves_no_old_names_behind_its_end(tmp_path: Path) -> None:
    large, _ = opened(tmp_path, capacity=100)
    for offset in range(100):
        large.add(name(offset), 0, True)
    large.write()
    large.close()
    small, found = opened(tmp_path, capacity=2)
    assert len(found) == 100
    small.write()
    assert written(tmp_path) == []


def test_a_write_cut_short_between_two_pages_leaves_whole_entries(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, capacity=400)
    journal.write()
    before = only_file(tmp_path).read_bytes()
    for offset in range(400):
        journal.add(name(offset), 0, True)
    after = bytes(journal._table)
    for cut in range(0, len(after), PAGE):
        found = traces_of(after[:cut] + before[cut:])
        assert {trace.name for trace in found} <= {name(offset) for offset in range(400)}


def _killed_while_writing(directory: Path) -> None:
    journal, _ = opened(directory)
    journal.add(name(1), 1, True)
    journal.write()
    os.kill(os.getpid(), signal.SIGKILL)


def test_names_outlive_a_sigkill_and_so_does_the_claim_to_the_file(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_writing, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    _, found = opened(tmp_path)
    assert found == [Trace(name(1), 1, True)]
    assert len(list(tmp_path.iterdir())) == 1


# -- faults


def _good(directory: Path) -> bytes:
    journal, _ = opened(directory)
    journal.add(name(1), 2, True)
    journal.write()
    journal.close()
    return only_file(directory).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[:-1],
        lambda good: good[:40],
        lambda good: bytes(len(good)),
        lambda good: b"not a journal",
        lambda good: good.replace(b"\x01\x00\x00\x00", b"\x02\x00\x00\x00", 1),  # the version
        lambda good: good[:70] + bytes([good[70] ^ 1]) + good[71:],
    ],
    ids=["torn", "header cut", "zeros", "text", "version", "a bit"],
)
def test_a_corrupt_journal_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: object) -> None:
    damaged = damage(_good(tmp_path))  # type: ignore[operator]
    only_file(tmp_path).write_bytes(damaged)
    with capture_logs() as logs:
        journal, found = opened(tmp_path)
    assert found == []
    assert [line["event"] for line in logs] == ["the journal is corrupt and was set aside"]
    (aside,) = tmp_path.glob("*.corrupt")
    assert aside.read_bytes() == damaged
    journal.add(name(7), 0, True)
    journal.write()
    assert written(tmp_path) == [Trace(name(7), 0, True)]


def test_a_file_too_large_for_a_journal_is_not_read(tmp_path: Path) -> None:
    _good(tmp_path)
    os.truncate(only_file(tmp_path), 1 << 40)
    _, found = opened(tmp_path)
    assert found == []
    assert len(list(tmp_path.glob("*.corrupt"))) == 1


@given(st.binary(max_size=300))
def test_other_bytes_are_corrupt(content: bytes) -> None:
    with pytest.raises(Corrupt):
        traces_of(content)


@given(st.lists(st.tuples(st.integers(0, 4 * 32 - 1), st.integers(0, 255)), max_size=8), st.integers(0, 4 * 32))
def test_a_journal_with_other_bytes_in_it_is_read_or_corrupt(changes: list[tuple[int, int]], length: int) -> None:
    journal = Journal(None, 4)
    for number in range(4):
        journal.add(name(number), number, True)
    header = len(journal._table) - 4 * 32
    content = bytearray(journal._table)
    for at, byte in changes:
        content[header + at] = byte
    with contextlib.suppress(Corrupt):
        assert len(traces_of(bytes(content[: header + length]))) <= length // 32


def test_a_full_disk_is_told_once_and_what_it_missed_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path)
    journal.write()
    assert failing() == 0

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(journal_module.os, "pwrite", full)
        for offset in range(3):
            journal.add(name(offset), 0, True)
            journal.write()
    assert [line["event"] for line in logs] == ["the journal cannot be written; judging goes on without"]
    assert failing() == 1
    journal.write()
    assert failing() == 0
    assert {trace.name.offset for trace in written(tmp_path)} == {0, 1, 2}


def test_a_write_that_takes_less_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened(tmp_path)
    monkeypatch.setattr(journal_module.os, "pwrite", lambda *_arguments: 7)
    journal.write()
    assert failing() == 1


def test_where_there_can_be_no_file_the_journal_does_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with capture_logs() as logs:
        journal, found = opened(tmp_path / "file")
    assert found == []
    assert [line["event"] for line in logs] == ["no journal: a record that kills the worker will not be isolated"]
    assert failing() == 1
    journal.remove(journal.add(name(1), 0, True))
    journal.write()
    journal.close()


# -- many at once


def test_names_that_come_together_are_written_as_single_ones_are(tmp_path: Path) -> None:
    names = [name(offset) for offset in (1, 2, -1, 1 << 40)]
    together, _ = opened(tmp_path / "together")
    slots = together.add_all(names)
    together.write()
    single, _ = opened(tmp_path / "single")
    for each in names:
        single.add(each, 0, True)
    single.write()
    assert sorted(written(tmp_path / "together")) == sorted(written(tmp_path / "single"))
    together.remove_all([slots[0], NO_SLOT, slots[2]])
    together.write()
    assert sorted(trace.name for trace in written(tmp_path / "together")) == sorted([names[1], names[3]])


def test_more_names_than_there_is_room_for_have_no_slot(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, capacity=3)
    slots = journal.add_all([name(offset) for offset in range(5)])
    journal.write()
    assert slots[3:] == [NO_SLOT] * 2
    assert sorted(trace.name.offset for trace in written(tmp_path)) == [0, 1, 2]
    assert journal.add_all([name(9)]) == [NO_SLOT]
    journal.remove_all(slots)
    assert NO_SLOT not in journal.add_all([name(offset) for offset in range(3)])
    assert journal.add_all([]) == []
