"""The worker stops itself, as after SIGTERM: what has started is finished and committed, the rest waits in Kafka."""

import signal

import structlog

from worker.exit_codes import ExitCode

log = structlog.get_logger(__name__)


class OrderlyStop:
    """Who asked first is told, and gives the exit code."""

    def __init__(self) -> None:
        self.code = ExitCode.OK  # what the process ends with, where nothing worse happens

    @property
    def asked(self) -> bool:
        """Whether the worker is to stop: nothing more is to be taken."""
        return self.code is not ExitCode.OK

    @property
    def late(self) -> ExitCode:
        """What the process ends with where what has started is not finished in time."""
        return self.code if self.asked else ExitCode.DRAIN_DEADLINE

    def ask(self, code: ExitCode, why: str) -> None:
        """Stops the worker. `why` is the line that a person reads. On the main thread."""
        if self.asked:
            return
        self.code = code
        log.error(f"stopping: {why}")
        signal.raise_signal(signal.SIGTERM)

    def guard_down(self, guard: str) -> None:
        """Stops the worker, as `guard_breaker_action = stop` has it."""
        self.ask(
            ExitCode.GUARD_DOWN,
            f"{guard} fails check after check; nothing is lost. The `check_failed` lines say on what. To go on with "
            "review verdicts instead, set MODERATION_GUARD_BREAKER_ACTION to review",
        )
