"""Runs the app in this process, by Faust's own worker, with our logs and our exit codes."""

import logging

import faust
import structlog

from worker.exit_codes import ExitCode
from worker.guards.errors import ModelRefused, ModelUnavailable
from worker.policy.store import PolicyError
from worker.settings import SettingsError
from worker.stream import last_resort
from worker.stream.start import KafkaNotReady

log = structlog.get_logger(__name__)

_CONFIG_ERRORS = (SettingsError, PolicyError, KafkaNotReady, ModelUnavailable, ModelRefused)


def host(app: faust.App) -> ExitCode:
    """Runs until SIGTERM, SIGINT or a crash; how it ended."""
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None
    logging.getLogger("faust.worker").addFilter(_on_one_line)
    ended_well = False
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        ended_well = not end.code
    finally:
        if not app.pipeline.loading:  # else the thread that loads would keep the process
            last_resort.not_needed()
    failure = app.pipeline.failure
    if isinstance(failure, _CONFIG_ERRORS):
        return ExitCode.CONFIG
    if not ended_well or failure is not None:
        return ExitCode.CRASH
    return ExitCode.DEAD_LETTERS if app.pipeline.breaker.open else ExitCode.OK


def _on_one_line(record: logging.LogRecord) -> bool:
    """What a user can mend is told without a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, _CONFIG_ERRORS):
        record.msg, record.args, record.exc_info = "cannot start: %s", (error,), None
    return True
