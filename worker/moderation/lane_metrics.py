"""What a guard's batches come to."""

from collections.abc import Sequence

from worker.batching.token_budget import padded_tokens
from worker.guards.guard import Fault
from worker.observability import metrics


class LaneMetrics:
    """The batch metrics of one guard, their labels looked up once."""

    def __init__(self, guard: str) -> None:
        self._batches = metrics.BATCHES.labels(guard)
        self._checks = metrics.BATCH_CHECKS.labels(guard)
        self._tokens = metrics.BATCH_TOKENS.labels(guard)
        self._padded = metrics.BATCH_PADDED_TOKENS.labels(guard)
        self._budget = metrics.BATCH_BUDGET_TOKENS.labels(guard)
        self._seconds = metrics.BATCH_SECONDS.labels(guard)
        self._wait = metrics.BATCH_WAIT.labels(guard)
        self.present_budget = metrics.PRESENT_BUDGET_TOKENS.labels(guard)
        # What others count, from the start at 0: an alert on the increase would not see the first one otherwise.
        metrics.OUT_OF_MEMORY_SPLITS.labels(guard)
        metrics.BATCH_RETRIES.labels(guard)
        for fault in Fault:
            metrics.FAULTS.labels(guard, fault.value)

    def batch(self, lengths: Sequence[int], budget: int, waited: float, seconds: float) -> None:
        """A batch of checks of these lengths was judged. `budget`: tokens that it could have held; `waited`: seconds
        that its oldest check waited; `seconds`: on the device."""
        self._batches.inc()
        self._checks.inc(len(lengths))
        self._tokens.inc(sum(lengths))
        self._padded.inc(padded_tokens(lengths))
        self._budget.inc(budget)
        self._wait.observe(waited)
        self._seconds.inc(seconds)
