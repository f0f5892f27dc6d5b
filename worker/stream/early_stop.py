"""A SIGTERM before the event loop listens for it: nothing has been taken from Kafka, so the process just ends."""

import os
import signal
from types import FrameType

from worker.exit_codes import ExitCode
from worker.observability.last_words import last_words


def until_the_loop_listens() -> None:
    """SIGTERM ends the process with exit code 0, until the event loop's own handler replaces this one.

    Without a handler it would end by the signal, and in a container, where it is process 1, not at all: the kernel
    drops what process 1 does not handle, and the pod would be killed at the end of its grace period.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Not an exception, which whatever runs just now might swallow; not by the log, which may be amid a line.
    last_words(__name__, "info", "stopped before the start: nothing was taken")
    os._exit(ExitCode.OK)
