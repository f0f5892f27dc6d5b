"""`moderation-worker dead-letters`: look at the dead letters, and send them back."""

import asyncio
import re
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.cli.context import settings_of
from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.stream.dead_letters.replay import Replay, ReplayResult
    from worker.stream.dead_letters.selection import Selection
    from worker.stream.dead_letters.tally import Tally

dead_letters_app = typer.Typer(help="Look at the dead letters, and send them back.", no_args_is_help=True)

_T = TypeVar("_T")

_PLACE = re.compile("[0-9]{1,9}/[0-9]{1,18}")


def _moment(words: str) -> datetime:
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise typer.BadParameter(f"{words!r} is no ISO 8601 time, such as 2026-07-01T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


Causes = Annotated[list[str] | None, typer.Option("--cause", help="Only this error type; may be given again.")]
SourceTopics = Annotated[
    list[str] | None, typer.Option("--source-topic", help="Only what came from this topic; may be given again.")
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=_moment, metavar="TIME", help="Only dead letters since then (ISO 8601; UTC without a zone)."),
]
Until = Annotated[datetime | None, typer.Option(parser=_moment, metavar="TIME", help="Only dead letters before then.")]


@dead_letters_app.command("list")
def list_(
    context: typer.Context,
    cause: Causes = None,
    source_topic: SourceTopics = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line; the summary on stderr.")] = False,
) -> None:
    """List the dead letters up to now, a line each, and count them by cause. Never shows message content.

    Example: moderation-worker dead-letters list --cause invalid_event --since 2026-07-01
    """
    selection, settings = _selection(cause, source_topic, since, until), settings_of(context)
    tally = _told(settings, _list(settings, selection, limit, as_json))
    counts = ", ".join(f"{name} {count}" for name, count in tally.by_cause.most_common())
    typer.echo(f"{tally.by_cause.total()} dead letters{': ' if counts else ''}{counts}", err=as_json)
    _say_without_headers(tally)


async def _list(settings: "Settings", selection: "Selection", limit: int | None, as_json: bool) -> "Tally":
    from worker.stream.dead_letters.lines import COLUMNS, json_line, text_line
    from worker.stream.dead_letters.tally import Tally
    from worker.stream.kafka.topic_reader import reading

    tally = Tally()
    async with reading(settings, settings.dead_letter_topic, selection.since_milliseconds) as reader:
        if not as_json:
            typer.echo(COLUMNS)
        async for chunk in reader.chunks():
            for record in chunk.records:
                letter = tally.letter_of(record, selection)
                if letter is not None:
                    typer.echo(json_line(letter) if as_json else text_line(letter))
                if tally.by_cause.total() == limit:
                    return tally
    return tally


@dead_letters_app.command()
def show(
    context: typer.Context,
    partition: Annotated[str, typer.Argument(help="Of the dead-letter topic; or both, as `list` has them: 3/812.")],
    offset: Annotated[str, typer.Argument(help="In this partition.", show_default=False)] = "",
    content: Annotated[bool, typer.Option("--content", help="Also key and value, which hold message content.")] = False,
) -> None:
    """Show one dead letter: cause, source and headers; key and value only as sizes without --content.

    Example: moderation-worker dead-letters show 3 812 --content
    """
    from aiokafka import TopicPartition

    from worker.stream.dead_letters.lines import described
    from worker.stream.kafka.topic_reader import record_at

    place = f"{partition}/{offset}".removesuffix("/")
    if not _PLACE.fullmatch(place):
        raise typer.BadParameter(f"{place!r} is no partition and offset, such as 3 812 or 3/812")
    settings = settings_of(context)
    number, at = map(int, place.split("/"))
    record = _told(settings, record_at(settings, TopicPartition(settings.dead_letter_topic, number), at))
    if record is None:
        typer.echo(f"no record at {place} of {settings.dead_letter_topic}", err=True)
        raise typer.Exit(ExitCode.FAILED)
    typer.echo("\n".join(described(record, content=content)))


@dead_letters_app.command()
def replay(
    context: typer.Context,
    cause: Causes = None,
    source_topic: SourceTopics = None,
    since: Since = None,
    until: Until = None,
    to: Annotated[str | None, typer.Option(help="Send everything to this topic, not each to its own.")] = None,
    max_replays: Annotated[int, typer.Option(min=1, help="What was replayed so often stays.")] = 3,
    group: Annotated[
        str | None, typer.Option(help="Consumer group that keeps the position; <group>-replay by default.")
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Ignore the position: also what was replayed before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent; send nothing.")] = False,
) -> None:
    """Send dead letters back to the topic that they came from, to be judged again, up to where they end now.

    The next run goes on where this one ended. Exit code 1 where a selected one could not be sent and stayed.

    Example: moderation-worker dead-letters replay --cause unknown_policy --dry-run
    """
    from worker.stream.dead_letters.replay import Replay, ReplayOptions

    selection, settings = _selection(cause, source_topic, since, until), settings_of(context)
    if to in settings.written_topics:
        raise typer.BadParameter(f"{to} is an output topic of the worker: nobody judges there", param_hint="--to")
    group = group or f"{settings.group}-replay"
    if group == settings.group:
        raise typer.BadParameter(f"{group} is the group of the workers", param_hint="--group")
    options = ReplayOptions(selection, group, to, max_replays, from_beginning, dry_run)
    with _progress(shown=not dry_run) as progress:
        task = progress.add_task("replaying", total=None)
        run = Replay(
            settings,
            options,
            on_letter=_print_letter if dry_run else lambda *_: None,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
        _told(settings, _until_signalled(run))
    _say_result(run.result, dry_run)
    if run.result.ended_early:
        typer.echo("interrupted; run it again to go on where it ended", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if run.result.stayed:
        raise typer.Exit(ExitCode.FAILED)


async def _until_signalled(run: "Replay") -> None:
    """Runs it; the first Ctrl-C or SIGTERM lets it end the records that it is at, the second one does not."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def signalled() -> None:
        run.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    await run.run()


def _print_letter(letter: Any, topic: str) -> None:
    from worker.stream.dead_letters.lines import printable, text_line

    typer.echo(f"{text_line(letter)}  -> {printable(topic)}")


def _say_result(result: "ReplayResult", dry_run: bool) -> None:
    from worker.stream.dead_letters.lines import printable

    topics = ", ".join(f"{printable(topic)} {count}" for topic, count in result.replayed.most_common())
    verb = "would be replayed" if dry_run else "replayed"
    typer.echo(f"{result.replayed.total()} {verb}{': ' if topics else ''}{topics}")
    for reason, count in result.stayed.most_common():
        typer.echo(f"{count} stayed: {reason}", err=True)
    if result.tally.passed_over:
        typer.echo(f"{result.tally.passed_over} passed over by the filters", err=True)
    _say_without_headers(result.tally)


def _say_without_headers(tally: "Tally") -> None:
    if tally.without_headers:
        typer.echo(f"{tally.without_headers} records skipped: without the headers of a dead letter", err=True)


def _selection(
    causes: list[str] | None, source_topics: list[str] | None, since: datetime | None, until: datetime | None
) -> "Selection":
    from worker.stream.dead_letters.selection import Selection

    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("--since must be before --until")
    return Selection(tuple(causes or ()), tuple(source_topics or ()), since, until)


def _told(settings: "Settings", work: Coroutine[Any, Any, _T]) -> _T:
    """Runs it; what a user can mend is one line and an exit code."""
    from aiokafka.errors import KafkaError

    from worker.stream.dead_letters.replay_position import ReplayRefused

    try:
        return asyncio.run(work)
    except ReplayRefused as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    except (KafkaError, TimeoutError) as error:
        words = str(error) or "no answer in time"
        typer.echo(f"Kafka at {settings.bootstrap_servers} failed: {words}; run it again", err=True)
        raise typer.Exit(ExitCode.CONFIG) from None
    except (asyncio.CancelledError, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _progress(*, shown: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
    )
