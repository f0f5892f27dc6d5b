"""`moderation-worker run`: one worker, until SIGTERM."""

import sys

import typer

from worker.cli.context import StandInOption, settings_of


def run(context: typer.Context, stand_in: StandInOption = False) -> None:
    """Run one worker: read chat events, publish verdicts, until SIGTERM or Ctrl-C.

    It takes nothing more then, finishes what it has started, commits and leaves the group: exit code 0, or 75 past
    drain_seconds.
    """
    from worker.stream.app import create_app
    from worker.stream.host import host

    sys.exit(host(create_app(settings_of(context, stand_in=stand_in))))
