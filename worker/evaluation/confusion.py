"""What came out wrong: examples, and categories taken for one another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from worker.evaluation.estimate import Estimate, proportion
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.measures import IsFlagged


@dataclass(frozen=True, slots=True)
class Confusion:
    """An example that came out wrong. Never its content: `place` says where that is."""

    id: str
    place: str
    group: str
    kind: str  # missed, false alarm, missed attack, false attack
    categories: tuple[str, ...]
    found: tuple[str, ...]
    score: float | None
    in_review: bool
    label_source: str | None


def right_category(content: Sequence[JudgedExample]) -> Estimate | None:
    """Of the unsafe examples of a category for which one is named, the share in which it is a right one."""
    caught = [row for row in content if row.label == "unsafe" and row.categories and row.found]
    return proportion(sum(not set(row.categories).isdisjoint(row.found) for row in caught), len(caught))


def category_pairs(content: Sequence[JudgedExample]) -> Counter[tuple[str, str]]:
    """Which category is taken for which other, where none of the right ones is named."""
    wrong = (
        row
        for row in content
        if row.label == "unsafe" and row.categories and row.found and set(row.categories).isdisjoint(row.found)
    )
    return Counter((true, found) for row in wrong for true in row.categories for found in row.found)


def confusions_of(
    content: Sequence[JudgedExample], attacks: Sequence[JudgedExample], flagged: IsFlagged
) -> list[Confusion]:
    """All errors, those that the guard is surest of first."""
    found = [
        _confusion(row, "missed" if row.label == "unsafe" else "false alarm", row.unsafe_score)
        for row in content
        if flagged(row) != (row.label == "unsafe")
    ]
    found += [
        _confusion(row, "missed attack" if row.prompt_attack else "false attack", row.attack_score)
        for row in attacks
        if row.attack_found != row.prompt_attack
    ]
    return sorted(found, key=_certainty)


def _confusion(row: JudgedExample, kind: str, score: float | None) -> Confusion:
    return Confusion(
        row.id, row.place, row.group, kind, row.categories, row.found, score, row.in_review, row.label_source
    )


def _certainty(confusion: Confusion) -> float:
    """Lowest for the errors that the guard is surest of."""
    score = confusion.score or 0.0
    return score if confusion.kind.startswith("missed") else 1 - score
