"""Logs: structlog, JSON for machines, readable on a terminal. Ids everywhere, message content never."""

import atexit
import logging
import sys
from typing import Literal

import structlog

from worker.observability.log_storms import LogStorms

# They tell each step of theirs; what goes wrong in them is still logged.
_QUIET = ("httpx", "httpx2", "httpcore", "urllib3", "filelock", "faust", "mode", "aiokafka")


def configure_logs(fmt: Literal["auto", "json", "console"] = "auto", level: str = "info") -> None:
    """Sends structlog's and the libraries' logs to standard error, one line each."""
    json_lines = fmt == "json" or (fmt == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json_lines
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    if level.upper() != "DEBUG":
        handler.addFilter(_tells_something)
    handler.addFilter(_a_pause_is_no_error)
    storms = LogStorms(lambda record: _write(handler, record))
    handler.addFilter(storms)
    atexit.register(storms.close)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # torchao makes torch warn, in torch's own form, of what only torchao's authors can change.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)


def _tells_something(record: logging.LogRecord) -> bool:
    """Not so what Faust's services tell of each step, under the names of our modules: `[^-Host]: Starting...`"""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def _a_pause_is_no_error(record: logging.LogRecord) -> bool:
    """What Faust calls a thread that is not responding is one that slept for longer than it wanted to: the process was
    paused, or had no core. It goes on by itself."""
    if record.levelno == logging.ERROR and "Thread keepalive is not responding" in str(record.msg):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = "the web server stood still for two seconds or more: a paused process, or no core", ()
    return True


def _write(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Past the handler's filters."""
    handler.acquire()
    try:
        handler.emit(record)
    finally:
        handler.release()
