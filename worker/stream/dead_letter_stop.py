"""Stops the worker where nearly everything has become a dead letter: a person should look before a topic is moved."""

from worker.contract.dead_letter import DeadLetter, replay_count
from worker.exit_codes import ExitCode
from worker.observability import metrics
from worker.settings import ENV_PREFIX, Settings
from worker.stream.dead_letter_limits import DeadLetterLimits
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.work import Outcome


class DeadLetterStop:
    """Watches the confirmed outcomes, and asks the worker to stop once a limit was passed."""

    def __init__(self, settings: Settings, stop: OrderlyStop) -> None:
        self._stop = stop
        self._limits = DeadLetterLimits(
            consecutive=settings.dead_letter_limit_consecutive,
            share=settings.dead_letter_limit_share,
            window=settings.dead_letter_limit_window,
        )

    def confirmed(self, outcome: Outcome) -> None:
        """The broker has this outcome. Passing a limit stops the worker as SIGTERM does: what is in flight is finished
        and committed, and everything else waits in Kafka."""
        cause = None
        if isinstance(outcome, DeadLetter):
            if replay_count(outcome.headers):
                return  # it was a dead letter before: nothing new goes wrong, and a replay must not stop the worker
            cause = outcome.error_type
        before = self._limits.in_a_row
        exceeded = self._limits.saw(cause)
        if before or cause:
            metrics.DEAD_LETTERS_IN_A_ROW.set(self._limits.in_a_row)
        if exceeded is None:
            return
        self._stop.ask(
            ExitCode.DEAD_LETTERS,
            f"{exceeded}; nothing is lost. Look at them with `moderation-worker dead-letters list` and mend "
            f"the producer or the policies; to go on regardless, raise {ENV_PREFIX}{exceeded.setting.upper()} (0: no "
            "limit)",
        )
