"""The last line of a process that ends at once: written past the log, whose lock whatever hangs may hold."""

import os
from datetime import UTC, datetime

import orjson


def last_words(logger: str, level: str, event: str) -> None:
    """Writes a line with the fields that every line of the log has, in JSON, to standard error.

    For signal handlers and last timers: it waits for nothing and imports little.
    """
    line = {"event": event, "logger": logger, "level": level, "timestamp": datetime.now(UTC)}
    os.write(2, orjson.dumps(line, option=orjson.OPT_UTC_Z) + b"\n")
