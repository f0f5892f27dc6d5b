"""Measures: recall, false positive rate, precision and F1 of a set of examples, plain or averaged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from worker.evaluation.estimate import Estimate, average, f1_score, proportion
from worker.evaluation.judged_example import JudgedExample

IsFlagged = Callable[[JudgedExample], bool]
NAMES = ("recall", "false_positive_rate", "f1", "precision")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a guard: what is true, what it says, and with which score."""

    truth: Callable[[JudgedExample], bool | None]  # None: nobody said
    flagged: IsFlagged
    score: Callable[[JudgedExample], float | None]

    def is_answered(self, row: JudgedExample) -> bool:
        """Whether both the truth and the guard's answer are known."""
        return row.verdict is not None and self.truth(row) is not None and self.score(row) is not None


def content_question(review_is_unsafe: bool = False) -> Question:
    """Is the content unsafe? `review_is_unsafe`: what goes to review counts as flagged."""
    return Question(
        truth=lambda row: None if row.label is None else row.label == "unsafe",
        flagged=lambda row: row.content_flagged or (review_is_unsafe and row.in_review),
        score=lambda row: row.unsafe_score,
    )


ATTACKS = Question(
    truth=lambda row: row.prompt_attack, flagged=lambda row: row.attack_found, score=lambda row: row.attack_score
)
"""Is the message a prompt attack?"""


@dataclass(frozen=True, slots=True)
class Counts:
    """How a set of examples with a true label came out."""

    hits: int  # unsafe, flagged
    misses: int  # unsafe, not flagged
    false_alarms: int  # safe, flagged
    passes: int  # safe, not flagged

    @classmethod
    def of(cls, rows: Iterable[JudgedExample], flagged: IsFlagged, unsafe: IsFlagged) -> "Counts":
        """The counts of rows, by what is flagged and what is truly unsafe."""
        table = [0, 0, 0, 0]
        for row in rows:
            table[2 * (not unsafe(row)) + (not flagged(row))] += 1
        hits, misses, false_alarms, passes = table
        return cls(hits, misses, false_alarms, passes)


@dataclass(frozen=True, slots=True)
class Measures:
    """The release's measures, each None where nothing there tells it."""

    recall: Estimate | None  # of the unsafe, the share that is flagged
    false_positive_rate: Estimate | None  # of the safe, the share that is flagged
    f1: Estimate | None
    precision: Estimate | None  # of the flagged, the share that is unsafe
    unsafe: int  # examples
    safe: int
    averaged_over: tuple[str, ...] = ()  # what weighs the same in each value; empty: every example does

    @classmethod
    def of(cls, counts: Counts) -> "Measures":
        """Each example weighs the same."""
        unsafe, safe = counts.hits + counts.misses, counts.false_alarms + counts.passes
        return cls(
            recall=proportion(counts.hits, unsafe),
            false_positive_rate=proportion(counts.false_alarms, safe),
            # Without one class F1 would be that of the class balance, not of the guard.
            f1=f1_score(counts.hits, counts.false_alarms, counts.misses) if unsafe and safe else None,
            precision=proportion(counts.hits, counts.hits + counts.false_alarms) if unsafe and safe else None,
            unsafe=unsafe,
            safe=safe,
        )

    @classmethod
    def averaged(cls, parts: Sequence[tuple[str, "Measures"]], whole: Counts) -> "Measures":
        """Each part (a category, a language) weighs the same. `whole`: the parts' examples, each counted once."""
        unsafe, safe = whole.hits + whole.misses, whole.false_alarms + whole.passes
        flagged = whole.hits + whole.false_alarms
        measures = [each for _, each in parts]
        return cls(
            recall=average([each.recall for each in measures], unsafe),
            false_positive_rate=average([each.false_positive_rate for each in measures], safe),
            f1=average([each.f1 for each in measures], flagged + whole.misses),
            precision=average([each.precision for each in measures], flagged),
            unsafe=unsafe,
            safe=safe,
            averaged_over=tuple(name for name, _ in parts),
        )

    def named(self, name: str) -> Estimate | None:
        """A measure by its name in NAMES."""
        found = getattr(self, name)
        return found if isinstance(found, Estimate) else None
