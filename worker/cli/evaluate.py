"""`moderation-worker evaluate`: recall, false positives and F1 on labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.context import StandInOption, policy_of, settings_of
from worker.cli.from_reviews import FromReviewsOption, OnlyWriteOption, written_reviews
from worker.cli.labelled_data import (
    CategoryOption,
    Columns,
    DefaultGroupOption,
    Format,
    FormatOption,
    GroupOption,
    IdOption,
    LabelMeans,
    LabelMeansOption,
    LabelOption,
    OwnGroupOption,
    SafeOption,
    SplitOption,
    TextOption,
    UnsafeOption,
    data_set_of,
    judged,
    surveyed,
    told,
)
from worker.policy.store import PolicyStore

if TYPE_CHECKING:
    from worker.evaluation.data_set import Survey
    from worker.evaluation.report import Report
    from worker.evaluation.run import Run

_OUTPUT = Path("evaluation")


def evaluate(
    context: typer.Context,
    data: Annotated[
        list[Path] | None, typer.Argument(help="Labelled data: JSONL, CSV, parquet, a data set's directory.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the results and reports.")] = _OUTPUT,
    policy: Annotated[str | None, typer.Option(help="Judge under this policy; else the default one.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another run to compare with: its directory, report.json or results.jsonl.")
    ] = None,
    count_review: Annotated[
        bool, typer.Option("--count-review", help="What goes to review counts as flagged.")
    ] = False,
    from_reviews: FromReviewsOption = False,
    only_write_reviews: OnlyWriteOption = False,
    format_: FormatOption = Format.AUTO,
    split: SplitOption = None,
    text_column: TextOption = None,
    label_column: LabelOption = None,
    category_column: CategoryOption = None,
    group_column: GroupOption = None,
    id_column: IdOption = None,
    label_means: LabelMeansOption = LabelMeans.CONTENT,
    unsafe_value: UnsafeOption = None,
    safe_value: SafeOption = None,
    default_group: DefaultGroupOption = None,
    group: OwnGroupOption = None,
    stand_in: StandInOption = False,
) -> None:
    """Judge labelled examples, and measure recall, false positives and F1 as the release does.

    Writes results.jsonl (a line an example, as they come: a stopped run goes on from it), report.json, report.md and
    report.html. Rows that cannot be read are named and skipped; exit code 1 where nothing was judged. --from-reviews
    writes what reviewers have decided to reviews.jsonl there, and takes it as (more) data.

    Example: moderation-worker evaluate --stand-in examples.jsonl
    """
    settings = settings_of(context, stand_in=stand_in)
    paths = list(data or [])
    if from_reviews or only_write_reviews:
        paths.append(written_reviews(settings, output))
    if only_write_reviews:
        return
    if not paths:
        raise typer.BadParameter("name labelled data, or give --from-reviews")
    chosen = policy_of(PolicyStore.of(settings), policy)
    columns = Columns(text_column, label_column, category_column, group_column, id_column)
    labelled = data_set_of(
        paths, format_, split, columns, label_means, (unsafe_value, safe_value), (default_group, group)
    )
    survey = surveyed(labelled)
    report = _report(judged(settings, chosen, labelled, survey, output), survey, compare, count_review)
    _write(report, output)
    _print(report, output)


def _report(run: "Run", survey: "Survey", compare_with: Path | None, count_review: bool) -> "Report":
    from worker.evaluation.comparison import compare
    from worker.evaluation.measures import content_question
    from worker.evaluation.report import report_of
    from worker.evaluation.results_file import read_results

    question = content_question(count_review)
    other = None if compare_with is None else told(lambda: compare(run.rows, read_results(compare_with), question))
    return report_of(
        run.header,
        list(run.rows.values()),
        unreadable=[f"{each.place}: {each.reason}" for each in survey.named],
        unreadable_count=survey.skipped,
        warnings=survey.warnings(),
        review_is_unsafe=count_review,
        comparison=other,
    )


def _write(report: "Report", output: Path) -> None:
    from worker.evaluation.html import to_html
    from worker.evaluation.markdown import to_markdown

    try:
        (output / "report.json").write_bytes(report.to_json())
        (output / "report.md").write_text(to_markdown(report), encoding="utf-8")
        (output / "report.html").write_text(to_html(report), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(str(error)) from None


def _print(report: "Report", output: Path) -> None:
    from worker.evaluation.measures import NAMES
    from worker.evaluation.report_tables import TITLES, cells, measures_tables, percent, summary_rows

    console = Console(width=None if Console().is_terminal else 140)
    for warning in report.warnings:
        console.print(warning, style="bold red", markup=False, highlight=False, soft_wrap=True)
    for name, value in summary_rows(report):
        console.print(f"{name}: {value}", markup=False, highlight=False, soft_wrap=True)
    for shown in measures_tables(report):
        table = Table("", "unsafe", "safe", *(TITLES[name] for name in NAMES), title=shown.title, title_justify="left")
        for name, each in shown.rows.items():
            table.add_row(name, str(each.unsafe), str(each.safe), *map(percent, cells(each)))
        console.print(table)
    if report.comparison:
        found = report.comparison
        words = f"became right: {found.became_right}, became wrong: {found.became_wrong}, of {found.shared} shared"
        console.print(f"Compared: {words}; the differences are in the report", markup=False, highlight=False)
    console.print(f"Report: {output / 'report.html'} (.md, .json)", markup=False, highlight=False, soft_wrap=True)
