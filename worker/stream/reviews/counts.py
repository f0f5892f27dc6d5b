"""Review counts: how often people agree with verdicts, by policy and by category."""

import itertools
from collections.abc import Callable, Collection

from worker.contract.review import Review, ReviewedVerdict
from worker.contract.verdict import Label
from worker.observability import metrics
from worker.policy.taxonomy import CATEGORY_KEYS

_OTHER = "other"  # a policy that metrics do not tell apart
_NOT_SAID = "none"  # the review does not say what the verdict was
_PERSON_SAYS = ("safe", "unsafe")
_CATEGORY_RESULTS = ("confirmed", "refuted", "missed")


class ReviewCounts:
    """Counts reviews. Consoles choose the names in them, so that only policies given here are told apart."""

    def __init__(self, policies: Callable[[], Collection[str]]) -> None:
        """`policies` gives the names that metrics may hold now."""
        self._policies = policies

    def begin(self) -> None:
        """All known series are there at 0: an increase of a counter would not show its first ones otherwise."""
        for label in Label:
            for policy, person in itertools.product((*self._policies(), _OTHER), _PERSON_SAYS):
                metrics.REVIEWS.labels(policy, label.value, person)
            for category, result in itertools.product(CATEGORY_KEYS, _CATEGORY_RESULTS):
                metrics.REVIEWED_CATEGORIES.labels(category, label.value, result)

    def count(self, review: Review) -> None:
        """Counts one review."""
        verdict = review.verdict
        if verdict is None:
            metrics.REVIEWS.labels(_NOT_SAID, _NOT_SAID, review.label).inc()
            return
        policy = verdict.policy.name if verdict.policy.name in self._policies() else _OTHER
        metrics.REVIEWS.labels(policy, verdict.label.value, review.label).inc()
        for category, result in category_results(review, verdict).items():
            metrics.REVIEWED_CATEGORIES.labels(category, verdict.label.value, result).inc()


def category_results(review: Review, verdict: ReviewedVerdict) -> dict[str, str]:
    """What a person says of each category: `confirmed` and `refuted` are the verdict's, `missed` the person's alone.

    Unsafe without categories confirms all of the verdict's: nobody was asked which.
    """
    named = set(verdict.violated_categories)
    if review.label == "safe":
        return dict.fromkeys(named, "refuted")
    found = named if review.categories is None else set(review.categories)
    return {
        category: "missed" if category not in named else "confirmed" if category in found else "refuted"
        for category in named | found
    }
