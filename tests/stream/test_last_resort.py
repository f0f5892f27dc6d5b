"""The end of a process that does not end by itself."""

import threading

import pytest

from worker.exit_codes import ExitCode
from worker.stream import last_resort


def test_where_no_thread_can_see_to_the_end_it_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for the end may be that no thread can be started."""

    def refuses(_timer: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def ends(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(threading.Timer, "start", refuses)
    monkeypatch.setattr(last_resort.os, "_exit", ends)
    with pytest.raises(SystemExit) as ended:
        last_resort.end_process_in(10, ExitCode.CRASH)
    assert ended.value.code == ExitCode.CRASH
