"""A report as Markdown."""

import re
from collections.abc import Iterable, Iterator, Sequence

from worker.evaluation.measures import NAMES
from worker.evaluation.report import Report
from worker.evaluation.report_tables import (
    TITLES,
    cells,
    change_words,
    measures_tables,
    percent,
    points,
    score_words,
    summary_rows,
)

_MOST_LISTED = 20
_MARKUP = re.compile(r"[\\`\[\]<>|]")


def to_markdown(report: Report) -> str:
    """The whole report; of long lists the first twenty entries."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield "# Evaluation"
    for warning in report.warnings:
        yield f"\n> **{_safe(warning)}**"
    yield "\nIntervals are 95 % confidence intervals.\n"
    yield from _table(("", ""), summary_rows(report))
    for table in measures_tables(report):
        yield f"\n## {table.title}\n\n{_safe(table.note)}\n"
        rows = ((name, each.unsafe, each.safe, *map(percent, cells(each))) for name, each in table.rows.items())
        yield from _table(("", "unsafe", "safe", *(TITLES[name] for name in NAMES)), rows)
    yield from _comparison(report)
    yield from _confusions(report)
    if report.skipped.named:
        yield "\n## Skipped\n"
        yield from (f"- {_safe(each)}" for each in report.skipped.named)


def _comparison(report: Report) -> Iterator[str]:
    found = report.comparison
    if found is None:
        return
    other = found.other
    yield "\n## Compared with another run\n"
    yield (
        f"Of {', '.join(other.data)} under {_safe(other.policy_name)} ({other.policy_hash}) by "
        f"{', '.join(f'{model.id} at {model.revision}' for model in other.models)}. "
        f"Shared examples: {found.shared}; only here: {found.only_here}; only there: {found.only_there}; left out: "
        f"{found.left_out}. Became right: {found.became_right}; became wrong: {found.became_wrong}. "
        "Differences in percentage points, this run minus the other; * where the interval excludes 0.\n"
    )
    rows = (
        (name, *(points(row[each]) + (" *" if found.significant(name, each) else "") for each in NAMES))
        for name, row in found.differences.items()
    )
    yield from _table(("", *(TITLES[name] for name in NAMES)), rows)
    if found.changed:
        yield "\n"
        listed = found.changed[:_MOST_LISTED]
        changes = ((c.id, c.place, c.kind, score_words(c.before), score_words(c.now), change_words(c)) for c in listed)
        yield from _table(("id", "place", "of", "score before", "now", ""), changes)


def _confusions(report: Report) -> Iterator[str]:
    if report.category_confusions:
        yield "\n## Categories taken for others\n"
        yield from _table(("true", "named", "times"), report.category_confusions)
    if report.confusions:
        yield f"\n## Wrong answers\n\n{report.confusion_count} in all, those that the guard is surest of first.\n"
        rows = (
            (c.kind, c.id, c.place, c.group, ", ".join(c.categories), ", ".join(c.found), score_words(c.score))
            for c in report.confusions[:_MOST_LISTED]
        )
        yield from _table(("", "id", "place", "group", "true", "named", "score"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(_safe(str(cell)) for cell in row) + " |"


def _safe(text: str) -> str:
    """Ids and names come with the data: they must not become markup."""
    return " ".join(_MARKUP.sub(r"\\\g<0>", text).split())
