"""Runs the app in this process, by Faust's own worker, with our logs and our exit codes."""

import logging

import faust
import structlog
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from worker.exit_codes import ExitCode
from worker.guards.errors import ModelRefused, ModelUnavailable
from worker.observability import tracing
from worker.policy.errors import PolicyError
from worker.settings import SettingsError
from worker.stream import last_resort
from worker.stream.kafka.preflight import KafkaNotReady
from worker.stream.kafka.static_member import PlaceTaken
from worker.stream.service import ModerationService

log = structlog.get_logger(__name__)

_RIGHTS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
_AT_START = (SettingsError, PolicyError, KafkaNotReady, ModelUnavailable, ModelRefused)
_WHILE_RUNNING = (PlaceTaken, *_RIGHTS)


def host(app: faust.App) -> ExitCode:
    """Runs until SIGTERM, SIGINT or a crash; how it ended."""
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None
    logging.getLogger("faust.worker").addFilter(_on_one_line)
    logging.getLogger(ModerationService.__module__).addFilter(
        _not_twice
    )  # mode logs what crashes a service, under its name
    ended_well = False
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        ended_well = not end.code
    finally:
        if not app.moderation.loading:  # else the thread that loads would keep the process
            last_resort.not_needed()
        tracing.stop()
    failure = app.moderation.failure
    if isinstance(failure, _WHILE_RUNNING):
        log.critical(f"cannot go on: {_in_words(failure)}")
    if isinstance(failure, (*_AT_START, *_WHILE_RUNNING)):
        return ExitCode.CONFIG
    if not ended_well or failure is not None:
        return ExitCode.CRASH
    code: ExitCode = app.moderation.orderly_stop.code
    return code


def _in_words(failure: BaseException) -> str:
    if not isinstance(failure, _RIGHTS):
        return str(failure)
    kind = "group" if isinstance(failure, GroupAuthorizationFailedError) else "topic"
    named = failure.args[0]
    names = ", ".join(sorted(named)) if isinstance(named, set) else named
    return f"a right on {kind} {names} was taken away; `moderation-worker topics check` shows which"


def _on_one_line(record: logging.LogRecord) -> bool:
    """What a user can mend is told without a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, _AT_START):
        record.msg, record.args, record.exc_info = "cannot start: %s", (error,), None
    return True


def _not_twice(record: logging.LogRecord) -> bool:
    """What is told at the end in one line needs no traceback before it."""
    return not (record.exc_info and isinstance(record.exc_info[1], _WHILE_RUNNING))
