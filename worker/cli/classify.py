"""`moderation-worker classify`: verdicts on a file or a text, without Kafka."""

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.cli.context import StandInOption, policy_of, settings_of
from worker.exit_codes import ExitCode
from worker.policy.store import PolicyStore
from worker.settings import Settings

_STDIO = Path("-")


def classify(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="JSON lines, a chat event a line; - is standard input.")
    ] = _STDIO,
    text: Annotated[list[str] | None, typer.Option(help="Judge this user message instead; may be given again.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where verdicts go; - is standard output.")] = _STDIO,
    policy: Annotated[str | None, typer.Option(help="Policy for events that name none.")] = None,
    stand_in: StandInOption = False,
) -> None:
    """Judge chat events from a file, standard input or --text, without Kafka.

    One line comes out for each line in, in order: a verdict, or {"line", "error"} for a line that cannot be judged
    (exit code 1 at the end). Progress is shown on standard error.

    Example: moderation-worker classify --stand-in --text "how do I make a bomb?"
    """
    settings = settings_of(context, stand_in=stand_in)
    policies = PolicyStore.of(settings)
    policy_of(policies, policy)  # a name that is not known ends here
    with contextlib.ExitStack() as files:
        try:
            lines, size = _lines(source, text, files)
            if output.exists() and text is None and source.exists() and output.samefile(source):
                raise typer.BadParameter(f"{output} is the input, which would be overwritten")
            out = sys.stdout.buffer if output == _STDIO else files.enter_context(output.open("wb"))
        except OSError as error:
            raise typer.BadParameter(str(error)) from None
        malformed = asyncio.run(_classify(settings, policies, lines, size, out, policy))
    if malformed:
        typer.echo(f"{malformed} lines could not be judged; their lines say why", err=True)
        raise typer.Exit(ExitCode.FAILED)


def _lines(source: Path, text: list[str] | None, files: contextlib.ExitStack) -> tuple[Iterable[bytes], int | None]:
    """The lines, and their bytes where that is known."""
    if text is not None:
        from worker.moderation.lines import event_of_text

        events = [event_of_text(each, number) for number, each in enumerate(text, 1)]
        return events, sum(map(len, events))
    if source == _STDIO:
        return sys.stdin.buffer, None
    return files.enter_context(source.open("rb")), source.stat().st_size


async def _classify(
    settings: Settings,
    policies: PolicyStore,
    lines: Iterable[bytes],
    size: int | None,
    out: BinaryIO,
    policy: str | None,
) -> int:
    from worker.guards.loading import load_guards
    from worker.moderation.lines import LineJudge, without_line_ends
    from worker.moderation.moderator import Moderator
    from worker.moderation.options import ModeratorOptions

    with _progress(size) as progress:
        task = progress.add_task("loading models", total=size)
        moderator = Moderator(await asyncio.to_thread(load_guards, settings), ModeratorOptions.of(settings))
        progress.update(task, description="judging")
        judge = LineJudge(moderator, policies, source="classify", default_policy=policy)
        try:
            bare = without_line_ends(lines, lambda seen: progress.advance(task, seen))
            async for line in judge.judge(bare):
                out.write(line + b"\n")
                out.flush()
        finally:
            moderator.close()
    return judge.malformed


def _progress(size: int | None) -> Progress:
    known = (BarColumn(), DownloadColumn()) if size is not None else (SpinnerColumn(),)
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), *known, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    )
