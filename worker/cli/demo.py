"""`moderation-worker demo`: the main job on a real Kafka."""

import signal
from typing import Annotated

import typer
from rich.console import Console

from worker.exit_codes import ExitCode


def demo(
    bootstrap: Annotated[
        str | None,
        typer.Option(help="Use this Kafka (host:port) instead of starting one; topics get a prefix of their own."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running afterwards, to send own events.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sample events.")] = 0,
) -> None:
    """Show the main job: a real Kafka, two workers with stand-in models, about 420 sample chat events, and where each
    of them ended.

    Exit code 1 where not every event came out exactly once.
    """
    from worker.local.demo import DemoOptions, run_demo
    from worker.local.workers import WorkerDied

    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    try:
        holds = run_demo(DemoOptions(bootstrap, keep, seed), console)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (WorkerDied, TimeoutError) as error:
        typer.echo(f"the demo failed: {error or 'the workers did not get ready in time'}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    if not holds:
        raise typer.Exit(ExitCode.FAILED)
