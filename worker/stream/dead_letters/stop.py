"""Stops the worker where nearly everything has become a dead letter: a person should look before a topic is moved."""

from collections.abc import Iterable

from worker.contract.dead_letter import replay_count
from worker.contract.verdict import Verdict
from worker.exit_codes import ExitCode
from worker.observability import metrics
from worker.settings import ENV_PREFIX, Settings
from worker.stream.dead_letters.limits import DeadLetterLimits, Exceeded
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

    def confirmed(self, outcomes: Iterable[Outcome]) -> None:
        """The broker has these outcomes. Passing a limit stops the worker as SIGTERM does: what is in flight is
        finished and committed, and everything else waits in Kafka."""
        before, verdicts = self._limits.in_a_row, 0
        for outcome in outcomes:
            if isinstance(outcome, Verdict):
                verdicts += 1
            elif not replay_count(outcome.headers):  # a replay must not stop the worker: nothing new goes wrong
                self._exceeded(self._limits.saw_verdicts(verdicts))
                self._exceeded(self._limits.saw(outcome.error_type))
                verdicts = 0
        self._exceeded(self._limits.saw_verdicts(verdicts))
        if before or self._limits.in_a_row:
            metrics.DEAD_LETTERS_IN_A_ROW.set(self._limits.in_a_row)

    def _exceeded(self, exceeded: Exceeded | None) -> None:
        if exceeded is None:
            return
        self._stop.ask(
            ExitCode.DEAD_LETTERS,
            f"{exceeded}; nothing is lost. Look at them with `moderation-worker dead-letters list` and mend "
            f"the producer or the policies; to go on regardless, raise {ENV_PREFIX}{exceeded.setting.upper()} (0: no "
            "limit)",
        )
