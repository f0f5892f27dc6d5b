"""Ends the process even where the event loop or a guard's thread hangs."""

import os
import threading

from worker.exit_codes import ExitCode
from worker.observability.last_words import last_words

CRASH_SECONDS = 10.0  # for a crashed worker to end by itself


_timers: list[threading.Timer] = []


def end_process_in(seconds: float, code: ExitCode) -> None:
    """Ends the process with this exit code after so many seconds, unless it has ended before. At once where no thread
    can be started to see to it."""
    timer = threading.Timer(seconds, _end, (seconds, code))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        _end(0, code)
    _timers.append(timer)


def _end(seconds: float, code: ExitCode) -> None:
    words = f"ended by force after {seconds:g} s, exit code {int(code)}: what was in flight comes again from Kafka"
    last_words(__name__, "warning", words)  # not by the log, whose lock a thread that hangs may hold
    os._exit(code)


def not_needed() -> None:
    """The worker has ended by itself: whatever the process does next, it may take its time."""
    while _timers:
        _timers.pop().cancel()
