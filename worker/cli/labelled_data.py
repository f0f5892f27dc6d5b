"""What `evaluate` and `calibrate` share: the options that say how labelled data is read, and how it is judged."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from worker.evaluation.data_set import DataSet, Survey
    from worker.evaluation.run import Run
    from worker.policy.policy import Policy
    from worker.settings import Settings

_T = TypeVar("_T")
_MOST_SAID = 10
_TOLD_EVERY = 1000  # examples, where there is no terminal


class Format(StrEnum):
    """How labelled data is written."""

    AUTO = "auto"
    JSONL = "jsonl"
    OPENAI = "openai"
    CSV = "csv"
    PARQUET = "parquet"


class LabelMeans(StrEnum):
    """What the label column is about."""

    CONTENT = "content"
    PROMPT_ATTACK = "prompt-attack"


FormatOption = Annotated[Format, typer.Option("--format", help="auto: by the file's name.")]
SplitOption = Annotated[str | None, typer.Option(help="The split of a data set on disk that has several.")]
TextOption = Annotated[str | None, typer.Option(help="The column of the text, where it is not called as usual.")]
LabelOption = Annotated[str | None, typer.Option(help="The column of the label.")]
CategoryOption = Annotated[str | None, typer.Option(help="The column of the categories.")]
GroupOption = Annotated[str | None, typer.Option(help="The column of the group.")]
IdOption = Annotated[str | None, typer.Option(help="The column of the id.")]
LabelMeansOption = Annotated[LabelMeans, typer.Option(help="What the label column is about.")]
UnsafeOption = Annotated[
    list[str] | None, typer.Option("--unsafe-value", help="A label that means unsafe; may be given again.")
]
SafeOption = Annotated[
    list[str] | None, typer.Option("--safe-value", help="A label that means safe; may be given again.")
]
DefaultGroupOption = Annotated[str | None, typer.Option(help="The group of rows that name none.")]
OwnGroupOption = Annotated[
    list[str] | None, typer.Option("--group", help="A group of your own to allow; may be given again.")
]


class Columns(NamedTuple):
    """The options on columns, as they were given."""

    text: str | None = None
    label: str | None = None
    category: str | None = None
    group: str | None = None
    id: str | None = None


def data_set_of(
    paths: list[Path],
    format_: Format,
    split: str | None,
    columns: Columns,
    label_means: LabelMeans,
    values: tuple[list[str] | None, list[str] | None],
    groups: tuple[str | None, list[str] | None],
) -> "DataSet":
    """The data as the options describe it. `values`: unsafe and safe; `groups`: the default one, and the user's own."""
    from worker.evaluation.data_set import DataSet
    from worker.evaluation.readers.fields import RowFields

    unsafe, safe = (frozenset(each.lower() for each in given or ()) for given in values)
    default_group, own = groups
    fields = RowFields(
        **columns._asdict(),
        label_means=label_means.value,
        unsafe_values=unsafe,
        safe_values=safe,
        default_group=default_group,
        own_groups=frozenset([*(own or ()), *([default_group] if default_group else [])]),
    )
    return DataSet(tuple(paths), fields, format_.value, split)


def surveyed(data: "DataSet") -> "Survey":
    """What the data holds; says what is skipped. Exits with 1 where there is no example at all, or usage errors."""
    from worker.evaluation.data_set import Survey

    survey = told(lambda: Survey(data))
    for each in survey.named[:_MOST_SAID]:
        typer.echo(f"skipped {each.place}: {each.reason}", err=True)
    if survey.skipped > _MOST_SAID:
        typer.echo(f"... and {survey.skipped - _MOST_SAID} more", err=True)
    if not survey.examples:
        typer.echo(f"nothing to judge: no example in {', '.join(map(str, data.paths))}", err=True)
        raise typer.Exit(ExitCode.FAILED)
    if survey.skipped:
        typer.echo(f"{survey.skipped} rows skipped, {survey.examples} examples go on", err=True)
    for warning in survey.warnings():
        typer.echo(f"note: {warning}", err=True)
    return survey


def judged(settings: "Settings", policy: "Policy", data: "DataSet", survey: "Survey", output: Path) -> "Run":
    """The run over the data, with progress on standard error. Exits with 1 where nothing was judged."""
    from worker.evaluation.run import run

    console = Console(stderr=True)
    done = 0
    with _progress(console) as progress:
        task = progress.add_task("judging", total=survey.examples)

        def on_judged(count: int) -> None:
            nonlocal done
            done += count
            progress.advance(task, count)
            if not console.is_terminal and done % _TOLD_EVERY == 0:
                typer.echo(f"{done} of {survey.examples} judged", err=True)

        found = told(lambda: _run(run(settings, policy, data, output, on_judged), output))
    if found.already_there:
        typer.echo(f"{found.already_there} examples were judged by an earlier start", err=True)
    if not found.verdicts:
        reasons = sorted({row.error or "" for row in found.rows.values()})[:3]
        typer.echo(f"nothing was judged: {'; '.join(reasons)}", err=True)
        raise typer.Exit(ExitCode.FAILED)
    return found


def told(read: Callable[[], _T]) -> _T:
    """What `read` returns; data that cannot be used is a usage error in one line."""
    from worker.evaluation.labelled_example import DataUnusable

    try:
        return read()
    except DataUnusable as cause:
        raise typer.BadParameter(str(cause)) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None


def _run(coroutine: "Coroutine[Any, Any, Run]", output: Path) -> "Run":
    try:
        return asyncio.run(coroutine)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from what is in {output}", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal)
