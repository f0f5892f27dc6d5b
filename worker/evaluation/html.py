"""A report as one HTML page: no script, nothing from elsewhere, for light, dark and narrow screens."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from worker.evaluation.comparison import Comparison
from worker.evaluation.estimate import Estimate
from worker.evaluation.html_style import STYLE
from worker.evaluation.measures import NAMES, Measures
from worker.evaluation.plots import Line, difference_bar, interval_bar, unit_square
from worker.evaluation.report import CurveReport, Report
from worker.evaluation.report_tables import (
    HIGHER_IS_WORSE,
    TITLES,
    MeasuresTable,
    cells,
    change_words,
    measures_tables,
    percent,
    points,
    score_words,
    summary_rows,
)

_MOST_LISTED = 200
_CHANCE = Line([(0.0, 0.0), (1.0, 1.0)], "chance")


def to_html(report: Report) -> str:
    """The whole page; of long lists the first two hundred entries."""
    title = f"Evaluation of {', '.join(report.header.data)}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{''.join(_body(report))}</main></body></html>\n"
    )


def _body(report: Report) -> Iterator[str]:
    yield from (f'<p class="warning" role="alert">{escape(each)}</p>' for each in report.warnings)
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in summary_rows(report))
    yield f'<dl class="facts">{"".join(rows)}</dl>'
    yield '<p class="note">Whiskers and parentheses are 95 % confidence intervals.</p>'
    for table in measures_tables(report):
        yield _measures(table)
    if report.curve:
        yield _section("Content: all thresholds", "P(unsafe) of Llama Guard.", _plots("Content", report.curve))
    if report.attacks and report.attacks.curve:
        plots = _plots("Prompt attacks", report.attacks.curve)
        yield _section("Prompt attacks: all thresholds", "P(prompt attack) of Prompt Guard.", plots)
    if report.comparison:
        yield _compared(report.comparison)
    if report.category_confusions:
        yield _section(
            "Categories taken for others", "", _table(("true", "named", "times"), report.category_confusions)
        )
    if report.confusions:
        yield _confusions(report)
    if report.skipped.named:
        items = "".join(f"<li>{escape(each)}</li>" for each in report.skipped.named)
        yield _section("Skipped", "The first few.", f"<ul>{items}</ul>")


def _measures(table: MeasuresTable) -> str:
    header = ("", "unsafe", "safe", *(TITLES[name] for name in NAMES))
    body = "".join(_measures_row(name, each) for name, each in table.rows.items())
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    html = (
        f'<div class="wide"><table class="measures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return _section(table.title, table.note, html)


def _measures_row(heading: str, measures: Measures) -> str:
    figures = "".join(
        f'<td data-name="{TITLES[title]}">{_bar(each, bad=title == HIGHER_IS_WORSE)}{_figure(percent(each))}</td>'
        for title, each in zip(NAMES, cells(measures), strict=True)
    )
    counts = "".join(
        f'<td class="count" data-name="{name}">{count}</td>'
        for name, count in (("unsafe", measures.unsafe), ("safe", measures.safe))
    )
    return f'<tr><th scope="row">{escape(heading)}</th>{counts}{figures}</tr>'


def _bar(estimate: Estimate | None, *, bad: bool) -> str:
    return "" if estimate is None else interval_bar(estimate.value, estimate.low, estimate.high, bad=bad)


def _figure(words: str) -> str:
    value, _, interval = words.partition(" (")
    return f"<b>{escape(value)}</b>" + (f" <small>{escape(interval.rstrip(')'))}</small>" if interval else "")


def _plots(of: str, curve: CurveReport) -> str:
    roc = unit_square(f"{of}: ROC", "false positive rate", "recall", [_CHANCE, Line(curve.roc)])
    base = curve.positives / (curve.positives + curve.negatives)
    chance = Line([(0.0, base), (1.0, base)], "chance")
    steps = Line(curve.precision_recall, stepped=True)
    recall = unit_square(f"{of}: precision and recall", "recall", "precision", [chance, steps])
    return (
        '<div class="plots">'
        f"<figure>{roc}<figcaption>ROC, area {curve.auc.value:.3f}; dashed: chance</figcaption></figure>"
        f"<figure>{recall}<figcaption>Precision and recall, average precision {curve.average_precision:.3f}; "
        "dashed: flagging everything</figcaption></figure></div>"
    )


def _compared(found: Comparison) -> str:
    other, models = found.other, ", ".join(f"{model.id} at {model.revision}" for model in found.other.models)
    note = (
        f"This run minus the other ({', '.join(other.data)} under {other.policy_name} {other.policy_hash} "
        f"by {models}), in percentage points, on {found.shared} shared examples; bold where the interval excludes 0. "
        f"Only here: {found.only_here}; only there: {found.only_there}; left out: {found.left_out}. "
        f"Became right: {found.became_right}; became wrong: {found.became_wrong}."
    )
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in ("", *(TITLES[name] for name in NAMES)))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(_difference(found, name, each) for each in NAMES)}</tr>'
        for name in found.differences
    )
    html = (
        f'<div class="wide"><table class="measures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    rows = [
        (each.id, each.place, each.kind, score_words(each.before), score_words(each.now), change_words(each))
        for each in found.changed[:_MOST_LISTED]
    ]
    if rows:
        changes = _table(("id", "place", "of", "score before", "now", ""), rows)
        html += f"<details><summary>{len(rows)} examples that changed</summary>{changes}</details>"
    return _section("Compared with another run", note, html)


def _difference(found: Comparison, row: str, name: str) -> str:
    estimate = found.differences[row][name]
    if estimate is None:
        return f'<td data-name="{TITLES[name]}">–</td>'
    worse = (estimate.value > 0) == (name == HIGHER_IS_WORSE)
    words = _figure(points(estimate))
    if not found.significant(row, name):
        words = words.replace("<b>", "<span>").replace("</b>", "</span>")
    bar = difference_bar(estimate.value, estimate.low, estimate.high, worse=worse)
    return f'<td data-name="{TITLES[name]}">{bar}{words}</td>'


def _confusions(report: Report) -> str:
    rows = [
        (
            each.kind + (" (in review)" if each.in_review else ""),
            each.id,
            each.place,
            each.group,
            ", ".join(each.categories),
            ", ".join(each.found),
            score_words(each.score),
        )
        for each in report.confusions[:_MOST_LISTED]
    ]
    table = _table(("", "id", "place", "group", "true", "named", "score"), rows)
    note = f"{report.confusion_count} in all, those that the guard is surest of first. Their content stays where it is."
    return _section("Wrong answers", note, f"<details open><summary>The first {len(rows)}</summary>{table}</details>")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, note: str, html: str) -> str:
    words = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{words}{html}</section>"
