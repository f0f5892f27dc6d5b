"""Exit codes of `moderation-worker`, as sysexits has them where it has one."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1  # the command's own check failed, or some lines were malformed
    USAGE = 2  # wrong arguments
    DEAD_LETTERS = 65  # too many dead letters; nothing is lost, a person should look
    GUARD_DOWN = 69  # a guard fails check after check, and guard_breaker_action is stop; nothing is lost
    CRASH = 70  # something unexpected; Kafka redelivers what was in flight
    DRAIN_DEADLINE = 75  # work in flight was not finished in time; Kafka redelivers it
    CONFIG = 78  # settings, policies, models, topics or rights that cannot be used
    INTERRUPTED = 130  # Ctrl-C or SIGTERM ended a command, as shells have it
