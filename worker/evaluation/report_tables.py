"""The tables of a report as cells, of which both Markdown and HTML are made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.evaluation.comparison import Change
from worker.evaluation.content_table import RELEASE_CATEGORIES, RELEASE_ROWS
from worker.evaluation.estimate import Estimate
from worker.evaluation.measures import NAMES, Measures
from worker.evaluation.report import Report
from worker.policy.taxonomy import CATEGORIES

RELEASE_FIGURES: dict[str, tuple[int, int, int]] = {
    "english": (69, 11, 61),
    "multilingual": (43, 3, 51),
    "single_image": (41, 9, 38),
    "multi_image": (61, 9, 52),
}
"""Recall, false positive rate and F1 in percent, as the release states them for its in-house test set."""
TITLES = {"recall": "Recall", "false_positive_rate": "FPR", "f1": "F1", "precision": "Precision"}
HIGHER_IS_WORSE = "false_positive_rate"


@dataclass(frozen=True, slots=True)
class MeasuresTable:
    """Rows of measures under a heading."""

    title: str
    note: str
    rows: Mapping[str, Measures]


def measures_tables(report: Report) -> Iterator[MeasuresTable]:
    """The release's table first, then what it does not have."""
    if report.release:
        rows = {RELEASE_ROWS[group]: each for group, each in report.release.items()}
        yield MeasuresTable("The release's table", release_note(report), rows)
    if report.overall.unsafe or report.overall.safe:
        rows = {"Each example weighs the same": report.overall}
        if report.overall_by_category.averaged_over:
            rows["Each category weighs the same"] = report.overall_by_category
        yield MeasuresTable("All examples", "S14 has no part in the average over categories, as in the release.", rows)
        yield MeasuresTable("Groups", "Each example weighs the same.", report.groups)
    if report.categories:
        named = {f"{key} {CATEGORIES[key]}": each for key, each in report.categories.items()}
        note = "Unsafe: those that violate it. Safe: those about it, and those that are said to be about no category."
        yield MeasuresTable("Categories", note, named)
    if report.attacks:
        yield MeasuresTable(
            "Prompt attacks",
            "At the policy's threshold. Unsafe: attacks; safe: harmless.",
            {"Prompt Guard": report.attacks.measures},
        )


def release_note(report: Report) -> str:
    """What the rows of the release's table are averaged over, and its own figures."""
    said = []
    for group, measures in report.release.items():
        over = _parts(measures.averaged_over)
        recall, fpr, f1 = RELEASE_FIGURES[group]
        said.append(f"{RELEASE_ROWS[group]}: over {over} (the release, on its own set: {recall}%, {fpr}%, {f1}%)")
    return "Averages that weigh each category (multilingual: each language) equally. " + "; ".join(said) + "."


def _parts(averaged_over: tuple[str, ...]) -> str:
    if averaged_over == RELEASE_CATEGORIES:
        return "S1 to S13"
    return ", ".join(averaged_over) or "no category, because no unsafe example names one"


def summary_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Facts of the run, a name and a value each."""
    header = report.header
    yield "Data", f"{', '.join(header.data)} ({header.data_fingerprint})"
    yield "Policy", f"{header.policy_name} ({header.policy_hash})"
    for model in header.models:
        yield "Model", f"{model.id} at {model.revision}{' (STAND-IN)' if model.stand_in else ''}"
    yield "Worker", header.worker_version
    yield "Examples", f"{report.examples}"
    skipped = report.skipped
    yield (
        "Skipped",
        f"{skipped.unreadable} unreadable rows, {skipped.unjudgeable} without a verdict, "
        f"{skipped.without_answer} without a score",
    )
    if report.review_share:
        yield "Sent to review", percent(report.review_share)
    if report.right_category:
        yield "A right category named, of the unsafe for which one is named", percent(report.right_category)
    if report.curve:
        yield "Content: area under the ROC curve", plain(report.curve.auc)
        yield "Content: average precision", f"{report.curve.average_precision:.3f}"
    if report.attacks:
        yield from _attack_rows(report)


def _attack_rows(report: Report) -> Iterator[tuple[str, str]]:
    attacks = report.attacks
    if attacks is None or attacks.curve is None:
        return
    yield "Attacks: area under the ROC curve", plain(attacks.curve.auc)
    at_one = attacks.recall_at_1_percent_fpr
    few = f"not measurable: needs 100 harmless examples, there are {attacks.curve.negatives}"
    words = few if at_one is None else f"{percent(at_one)}, threshold {attacks.threshold_at_1_percent_fpr:.4f}"
    yield "Attacks: recall at 1 % FPR", words


def percent(estimate: Estimate | None) -> str:
    """`69.0% (65.1% to 72.6%)`; a dash where it is not known."""
    return "–" if estimate is None else str(estimate)


def points(estimate: Estimate | None) -> str:
    """A difference in percentage points, `+3.1 (+0.2 to +6.0)`."""
    if estimate is None:
        return "–"
    return f"{estimate.value * 100:+.1f} ({estimate.low * 100:+.1f} to {estimate.high * 100:+.1f})"


def plain(estimate: Estimate) -> str:
    """`0.941 (0.920 to 0.957)`."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def score_words(score: float | None) -> str:
    """A score in four digits; a dash where there is none."""
    return "–" if score is None else f"{score:.4f}"


def change_words(change: Change) -> str:
    """What became of an example that two runs answer differently."""
    return "became right" if change.better else "became wrong"


def cells(measures: Measures) -> list[Estimate | None]:
    """The measures in the order of the tables' columns."""
    return [measures.named(name) for name in NAMES]
