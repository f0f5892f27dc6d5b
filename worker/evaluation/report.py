"""The report of a run: every figure, as plain values. JSON, Markdown and HTML are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from worker.evaluation.comparison import Comparison
from worker.evaluation.confusion import Confusion, category_pairs, confusions_of, right_category
from worker.evaluation.content_table import ContentTable
from worker.evaluation.curves import Curve, thinned
from worker.evaluation.estimate import Estimate, proportion
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.measures import ATTACKS, Counts, Measures, content_question
from worker.evaluation.results_file import RunHeader

ATTACK_FPR = 0.01  # the Prompt Guard card's: "recall at 1 % FPR"
_MOST_CONFUSIONS = 1000
_MOST_NAMED = 20
STAND_IN_WARNING = (
    "STAND-IN MODELS: these figures say nothing about moderation quality. "
    "They show that the measuring works, on tiny models trained on synthetic text."
)

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CurveReport:
    """A curve's sums and what to draw of it."""

    positives: int
    negatives: int
    auc: Estimate
    average_precision: float
    roc: list[XY]
    precision_recall: list[XY]

    @classmethod
    def of(cls, curve: Curve | None) -> "CurveReport | None":
        """None where one class is missing."""
        if curve is None:
            return None
        return cls(
            positives=curve.positives,
            negatives=curve.negatives,
            auc=curve.auc,
            average_precision=curve.average_precision,
            roc=thinned(curve.roc),
            precision_recall=thinned(curve.precision_recall),
        )


@dataclass(frozen=True, slots=True)
class AttackReport:
    """Prompt attacks, as the Prompt Guard card measures them."""

    measures: Measures  # at the policy's threshold
    curve: CurveReport | None
    recall_at_1_percent_fpr: Estimate | None  # None below 100 harmless examples
    threshold_at_1_percent_fpr: float | None

    @classmethod
    def of(cls, rows: Sequence[JudgedExample]) -> "AttackReport | None":
        """The report on examples that are labelled for attacks and have a score; None of none."""
        if not rows:
            return None
        counts = Counts.of(rows, ATTACKS.flagged, lambda row: bool(row.prompt_attack))
        curve = Curve.of([(row.attack_score or 0.0, bool(row.prompt_attack)) for row in rows])
        best = curve.recall_at(ATTACK_FPR) if curve else None
        return cls(Measures.of(counts), CurveReport.of(curve), *(best or (None, None)))


@dataclass(frozen=True, slots=True)
class SkippedReport:
    """Rows that have no part in the figures."""

    unreadable: int  # could not become an example
    unjudgeable: int  # an example without a verdict
    without_answer: int  # a verdict without a score: a guard failed
    named: list[str]  # the first few, with their place

    @classmethod
    def of(cls, rows: Sequence[JudgedExample], unreadable: Sequence[str], unreadable_count: int) -> "SkippedReport":
        """What has no part in the figures; of the unreadable rows the first few are known."""
        unjudgeable = [row for row in rows if row.verdict is None]
        silent = [row for row in rows if row.verdict is not None and _lacks_an_answer(row)]
        named = [*unreadable, *(f"{row.place}: {row.error}" for row in unjudgeable)]
        named += [f"{row.place}: no score ({', '.join(row.reasons) or 'no guard judges it'})" for row in silent]
        return cls(unreadable_count, len(unjudgeable), len(silent), named[:_MOST_NAMED])


def _lacks_an_answer(row: JudgedExample) -> bool:
    content = row.label is not None and row.unsafe_score is None
    return content or (row.prompt_attack is not None and row.attack_score is None)


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a run."""

    header: RunHeader
    warnings: list[str]
    examples: int  # with a verdict
    skipped: SkippedReport
    release: dict[str, Measures]  # the rows of the release's table, by group
    overall: Measures
    overall_by_category: Measures  # S1-S13 weighing the same, over all groups
    groups: dict[str, Measures]
    categories: dict[str, Measures]
    review_share: Estimate | None
    right_category: Estimate | None  # of the flagged unsafe with a category, those of which one is named
    category_confusions: list[tuple[str, str, int]]  # true, found, how often
    curve: CurveReport | None
    attacks: AttackReport | None
    confusion_count: int
    confusions: list[Confusion]  # the most certain errors first
    comparison: Comparison | None = None

    def to_json(self) -> bytes:
        """UTF-8 JSON."""
        return (
            orjson.dumps(self, default=lambda model: model.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n"
        )


def report_of(
    header: RunHeader,
    rows: Sequence[JudgedExample],
    *,
    unreadable: Sequence[str] = (),
    unreadable_count: int = 0,
    warnings: Sequence[str] = (),
    review_is_unsafe: bool = False,
    comparison: Comparison | None = None,
) -> Report:
    """The report on judged examples. `review_is_unsafe`: what goes to review counts as flagged."""
    judged = [row for row in rows if row.verdict is not None]
    question = content_question(review_is_unsafe)
    content, attacks = ([row for row in judged if each.is_answered(row)] for each in (question, ATTACKS))
    table = ContentTable(content, question.flagged)
    confusions = confusions_of(content, attacks, question.flagged)
    pairs = category_pairs(content)
    return Report(
        header=header,
        warnings=[*([STAND_IN_WARNING] if header.stand_in else []), *warnings],
        examples=len(judged),
        skipped=SkippedReport.of(rows, unreadable, unreadable_count),
        release=table.release(),
        overall=table.overall(),
        overall_by_category=table.by_category(content),
        groups=table.groups(),
        categories=table.categories(),
        review_share=proportion(sum(row.in_review for row in judged), len(judged)),
        right_category=right_category(content),
        category_confusions=[(true, found, count) for (true, found), count in pairs.most_common(20)],
        curve=CurveReport.of(Curve.of([(row.unsafe_score or 0.0, row.label == "unsafe") for row in content])),
        attacks=AttackReport.of(attacks),
        confusion_count=len(confusions),
        confusions=confusions[:_MOST_CONFUSIONS],
        comparison=comparison,
    )
