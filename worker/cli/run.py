"""`moderation-worker run`: one worker, until SIGTERM."""

import asyncio
import sys
from typing import Annotated, NoReturn

import typer

from worker.cli.context import StandInOption, settings_of


def run(
    context: typer.Context,
    stand_in: StandInOption = False,
    devices: Annotated[
        str | None, typer.Option(help="A worker for each of these: 0,1 (GPUs by number or UUID) or cpu,cpu.")
    ] = None,
) -> None:
    """Run one worker, or one a device: read chat events, publish verdicts, until SIGTERM or Ctrl-C.

    It takes nothing more then, finishes what it has started, commits and leaves the group: exit code 0, or 75 past
    drain_seconds. With --devices a worker that ends is started again, after 1 s, 2 s, up to 60 s; 65, 69 and 78 of one
    stop all of them. A second signal ends them at once.
    """
    if devices is not None:
        _run_on(devices, context, stand_in=stand_in)
    from worker.stream.app import create_app
    from worker.stream.host import host

    sys.exit(host(create_app(settings_of(context, stand_in=stand_in))))


def _run_on(words: str, context: typer.Context, *, stand_in: bool) -> NoReturn:
    from worker.devices.supervisor import devices_of, run_on_devices

    try:
        devices = devices_of(words)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--devices") from None
    settings = settings_of(context, stand_in=stand_in)
    config = [] if context.obj.config is None else ["--config", str(context.obj.config)]
    command = ["-m", "worker", *config, "run", *(["--stand-in"] if stand_in else [])]
    sys.exit(asyncio.run(run_on_devices(devices, settings, command)))
