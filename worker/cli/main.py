"""`moderation-worker`: the commands, and how their errors become one line and an exit code."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker import __version__
from worker.cli.bench import bench_app
from worker.cli.calibrate import calibrate
from worker.cli.classify import classify
from worker.cli.context import CliState
from worker.cli.dead_letters import dead_letters_app
from worker.cli.demo import demo
from worker.cli.evaluate import evaluate
from worker.cli.models import models_app
from worker.cli.plan import plan
from worker.cli.policies import policies_app
from worker.cli.run import run
from worker.cli.schemas import schemas
from worker.cli.stress import stress
from worker.cli.topics import topics_app
from worker.exit_codes import ExitCode

_HELP = """Judges chat events from Kafka with Llama Guard 4 and Prompt Guard 2 and publishes verdicts. Built with Llama.

Start with [bold]moderation-worker demo[/bold]: a real Kafka, two workers and sample events on this machine.
Then [bold]topics create[/bold], [bold]models fetch[/bold] and [bold]run[/bold] against your own.

Settings come from MODERATION_<NAME> variables, from the TOML file of --config (or MODERATION_CONFIG, or
./moderation.toml), and from their defaults: docs/settings.md lists them all.

Exit codes: 0 done; 1 the command found something wrong (a malformed line, a failed check); 2 wrong arguments; 65 too
many dead letters; 69 a guard is down; 70 crash, Kafka redelivers; 75 not drained in time, Kafka redelivers; 78
settings, policies, models, topics or rights cannot be used; 130 interrupted.
"""

app = typer.Typer(
    name="moderation-worker",
    help=_HELP,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"moderation-worker {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; MODERATION_<NAME> variables win over it.")
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = CliState(config)


app.command()(run)
app.command()(demo)
app.command()(classify)
app.command()(evaluate)
app.command()(calibrate)
app.add_typer(topics_app, name="topics")
app.add_typer(policies_app, name="policies")
app.add_typer(models_app, name="models")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(bench_app, name="bench")
app.command()(stress)
app.command()(plan)
app.command()(schemas)


def main() -> None:
    """The command line; errors for its user are one line."""
    try:
        app()
    except Exception as error:
        if (code := _exit_code(error)) is None:
            raise
        line = Text.assemble(("error: ", "red"), str(error))
        Console(stderr=True, soft_wrap=True).print(line)
        sys.exit(code)


def _exit_code(error: Exception) -> ExitCode | None:
    """Of an error that says all that a user needs; None of one that needs its traceback. Imported here: these modules
    are only loaded by commands that can fail so."""
    from worker.bench.stream import MeasurementFailed
    from worker.guards.errors import ModelRefused, ModelUnavailable
    from worker.local.broker import KafkaUnavailable
    from worker.local.stress import StressRefused
    from worker.local.workers import WorkerDied
    from worker.policy.errors import PolicyError
    from worker.settings import SettingsError
    from worker.stream.kafka.preflight import KafkaNotReady

    what_it_was_given = (
        SettingsError | PolicyError | ModelUnavailable | ModelRefused | KafkaNotReady | KafkaUnavailable | StressRefused
    )
    if isinstance(error, what_it_was_given):
        return ExitCode.CONFIG
    return ExitCode.FAILED if isinstance(error, MeasurementFailed | WorkerDied) else None
