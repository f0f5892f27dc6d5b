"""What came out: the outcomes that the broker confirmed, by label, category and tenant."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from worker.contract.errors import CAUSES
from worker.contract.verdict import Label, Verdict
from worker.observability import metrics
from worker.observability.light_metrics import Count
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.stream.status.recent import RecentOutcomes
from worker.stream.work import Work

_PUBLISH_SECONDS = metrics.STAGE.labels("publish")
_END_TO_END_SECONDS = metrics.END_TO_END.labels()
_NO_TENANTS = ("other", "none")  # what metrics say instead of a name


class OutcomeCounts:
    """Counts confirmed outcomes. Senders choose the tenant, so that only names given here are told apart."""

    def __init__(
        self,
        tenants: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
        recent: RecentOutcomes | None = None,
    ) -> None:
        """`tenants`: the names that metrics may hold; all others are `other`. `recent` is told of each outcome."""
        self._clock, self._recent = clock, recent
        self._by_label = {label: metrics.VERDICTS.labels(label.value) for label in Label}
        self._of_others = self._of(_NO_TENANTS[0])
        self._by_tenant: dict[str | None, dict[Label, Count]] = {}
        self.tell_apart(tenants)
        # All known series are there from the start, at 0: an alert on the increase would not see the first otherwise.
        for category in CATEGORY_KEYS:
            metrics.VIOLATIONS.labels(category)
        for cause in CAUSES:
            metrics.DEAD_LETTERS.labels(cause)

    def tell_apart(self, tenants: Iterable[str]) -> None:
        """From now on these are the names that metrics hold. Those of before that are not among them leave."""
        present: dict[str | None, dict[Label, Count]] = {tenant: self._of(tenant) for tenant in tenants}
        for tenant in self._by_tenant.keys() - present.keys() - {None, *_NO_TENANTS}:
            for label in Label:
                metrics.TENANT_VERDICTS.remove(str(tenant), label.value)
        self._by_tenant = present | {None: self._of(_NO_TENANTS[1])}

    @staticmethod
    def _of(tenant: str) -> dict[Label, Count]:
        return {label: metrics.TENANT_VERDICTS.labels(tenant, label.value) for label in Label}

    def confirmed(self, works: Sequence[Work]) -> None:
        """The broker has the outcomes of these."""
        now = self._clock()
        _PUBLISH_SECONDS.observe_all([now - work.decided for work in works])
        _END_TO_END_SECONDS.observe_all([now - work.arrived for work in works])
        verdicts = []
        for work in works:
            outcome = work.outcome
            if isinstance(outcome, Verdict):
                verdicts.append(outcome)
            elif outcome is not None:
                metrics.DEAD_LETTERS.labels(outcome.error_type).inc()
        self._count(verdicts)
        if self._recent is not None:
            self._recent.confirmed(works, now)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        for (label, tenant), count in Counter([(each.label, each.tenant) for each in verdicts]).items():
            self._by_label[label].inc(count)
            self._by_tenant.get(tenant, self._of_others)[label].inc(count)
        for each in verdicts:
            for category in each.violated_categories:
                metrics.VIOLATIONS.labels(category).inc()
            if each.prompt_attack:
                metrics.PROMPT_ATTACKS.inc()
