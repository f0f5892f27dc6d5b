"""`moderation-worker run`: one worker, until SIGTERM."""

import sys
from typing import Annotated

import typer

from worker.cli.context import settings_of


def run(
    context: typer.Context,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Judge with the shipped stand-ins: no GPU, no download, no meaning.")
    ] = False,
) -> None:
    """Run one worker: read chat events, publish verdicts, until SIGTERM or Ctrl-C.

    It takes nothing more then, finishes what it has started, commits and leaves the group: exit code 0, or 75 past
    drain_seconds.
    """
    from worker.settings import STAND_IN
    from worker.stream.app import create_app
    from worker.stream.host import host

    models = {"llama_guard_model": STAND_IN, "prompt_guard_model": STAND_IN} if stand_in else {}
    sys.exit(host(create_app(settings_of(context, **models))))
