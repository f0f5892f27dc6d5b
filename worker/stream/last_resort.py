"""Ends the process even where the event loop or a guard's thread hangs."""

import os
import threading

from worker.exit_codes import ExitCode

CRASH_SECONDS = 10.0  # for a crashed worker to end by itself


_timers: list[threading.Timer] = []


def end_process_in(seconds: float, code: ExitCode) -> None:
    """Ends the process with this exit code after so many seconds, unless it has ended before."""
    timer = threading.Timer(seconds, os._exit, (int(code),))
    timer.daemon = True
    timer.start()
    _timers.append(timer)


def not_needed() -> None:
    """The worker has ended by itself: whatever the process does next, it may take its time."""
    while _timers:
        _timers.pop().cancel()
