"""Log storms: of lines that come by the thousand, the first few of a time are written, and then how many there were."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST_KINDS: Final = 1000
"""Kinds of lines kept apart; more of them are a storm of its own kind, and are all written."""


@dataclass(slots=True)
class _Kind:
    """Lines of one logger that say the same of different things."""

    began: float
    count: int = 0


class LogStorms(logging.Filter):
    """Lets `most` lines of a kind pass in a window, holds the others back, and says how many when the window is over.

    A kind is a logger and its message before anything is filled in. What the stream tells of the worker's own life
    always passes, and so do its errors: the one that ends the process must not be missing. Its warnings may be about
    record after record.
    """

    def __init__(
        self,
        tell: Callable[[logging.LogRecord], None],
        *,
        most: int = 5,
        window: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` writes the line that says how many there were; `window` is in seconds on `clock`."""
        super().__init__()
        self._tell, self._most, self._window, self._clock = tell, most, window, clock
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._next_end = 0.0
        self._lock = threading.RLock()  # lines come from several threads, and from objects that are collected meanwhile

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        with self._lock:
            return self._passes(record, self._clock())

    def close(self) -> None:
        """Says how many lines are held back now."""
        with self._lock:
            self._end_windows(self._clock() + self._window)

    def _passes(self, record: logging.LogRecord, now: float) -> bool:
        if now >= self._next_end:
            self._end_windows(now)
        if record.levelno != logging.WARNING and record.name.startswith("worker.stream."):
            return True
        key = (record.name, record.levelno, _template(record))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _MOST_KINDS:
                return True
            kind = self._kinds[key] = _Kind(now)
        kind.count += 1
        return kind.count <= self._most

    def _end_windows(self, now: float) -> None:
        ended = [(key, kind) for key, kind in list(self._kinds.items()) if now - kind.began >= self._window]
        for key, kind in ended:
            del self._kinds[key]
            if kind.count > self._most:
                self._tell(_summary(*key, kind.count - self._most))
        self._next_end = min((kind.began for kind in self._kinds.values()), default=now) + self._window


def _template(record: logging.LogRecord) -> str:
    """The message without its values; structlog's lines are a dictionary here, and name what happened by a word."""
    return str(record.msg["event"] if isinstance(record.msg, dict) else record.msg)


def _summary(name: str, level: int, template: str, more: int) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 0, "%d more like this: %s", (more, template), None)
