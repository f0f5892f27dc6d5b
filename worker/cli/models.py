"""`moderation-worker models`: downloads the models, and asks them the release's own prompts."""

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.context import settings_of
from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from worker.guards.golden import GoldenAnswer

models_app = typer.Typer(help="Download and check the models.", no_args_is_help=True)


@models_app.command()
def fetch(context: typer.Context) -> None:
    """Download the models of the settings, and print the settings that pin them.

    A model without a revision is taken at the newest commit of its `main` branch. Files that are in the cache already
    are not downloaded again. Progress is shown on standard error.

    Example: MODERATION_HF_TOKEN=hf_... moderation-worker models fetch
    """
    from worker.guards.checkpoint import Checkpoint
    from worker.guards.loading import hub_of, is_on_hub, models_of, pinned, resolve_model

    settings = settings_of(context)
    hub = hub_of(settings)
    pins: list[str] = []
    for wanted in models_of(settings):
        found = pinned(wanted, hub)
        resolved = resolve_model(found, hub, _say)
        typer.echo(f"{resolved.model.id}")
        typer.echo(f"  revision  {resolved.model.revision}")
        typer.echo(f"  size      {_readable(Checkpoint(resolved.path).size)}")
        typer.echo(f"  path      {resolved.path}")
        if is_on_hub(found.source) and found != wanted:
            name = f"MODERATION_{wanted.setting.upper()}"
            pins += [f"{name}_MODEL={found.source}", f"{name}_REVISION={found.revision}"]
    if pins:
        typer.echo("\nPin them by these settings:")
        typer.echo("\n".join(pins))


@models_app.command()
def check(context: typer.Context) -> None:
    """Load the models of the settings and ask them the release's own prompts; exit code 1 where an answer differs.

    Example: moderation-worker models check
    """
    from worker.guards.golden import ask_golden_prompts
    from worker.guards.loading import load_guards

    guards = load_guards(settings_of(context), _say)
    answers = list(ask_golden_prompts(guards))
    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(answers))
    for model in (model for guard in guards for model in guard.models):
        note = (
            "  [stand-in: shows that everything works, says nothing about moderation quality]" if model.stand_in else ""
        )
        console.print(f"{model.id} {model.revision}{note}", markup=False, highlight=False, soft_wrap=True)
    wrong = sum(not answer.ok for answer in answers)
    if wrong:
        typer.echo(f"{wrong} of {len(answers)} answers differ from the release's", err=True)
        raise typer.Exit(ExitCode.FAILED)


def _table(answers: "list[GoldenAnswer]") -> Table:
    table = Table("guard", "prompt", "expected", "got", "score", "ms", "")
    for answer in answers:
        prompt = answer.prompt
        table.add_row(
            prompt.guard,
            f"{prompt.title}: {prompt.messages[-1][1]}",
            prompt.expected,
            answer.got,
            "" if answer.score is None else f"{answer.score:.3f}",
            f"{answer.milliseconds:.0f}",
            "[green]ok[/green]" if answer.ok else "[red]differs[/red]",
        )
    return table


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _readable(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
