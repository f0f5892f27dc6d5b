"""A worker a device on one host: `moderation-worker run --devices 0,1`."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import structlog

from worker.devices.device_worker import FINAL, Device, DeviceWorker
from worker.devices.web import DevicesWeb
from worker.exit_codes import ExitCode
from worker.settings import Settings

log = structlog.get_logger(__name__)

_KNOWN = frozenset(ExitCode)


def devices_of(words: str) -> list[Device]:
    """The devices of a comma-separated list; only `cpu` may come twice. Raises ValueError."""
    names = [name.strip() for name in words.split(",") if name.strip()]
    if not names:
        raise ValueError("no device is named")
    twice = {name for name in names if name != "cpu" and names.count(name) > 1}
    if twice:
        raise ValueError(f"named twice: {', '.join(sorted(twice))}")
    return [Device.of(name, os.environ.get("CUDA_VISIBLE_DEVICES")) for name in names]


async def run_on_devices(devices: Sequence[Device], settings: Settings, command: Sequence[str]) -> ExitCode:
    """Keeps a worker on each device until SIGTERM or SIGINT; a second signal ends them at once.

    `command`: what the Python interpreter is to run for a worker. Returns how it ended: 0 where all have stopped well;
    78, 65 or 69 of one worker stop all of them; else the greatest code.
    """
    crew = [
        DeviceWorker(number, device, command, _variables(settings, number)) for number, device in enumerate(devices)
    ]
    web = DevicesWeb(crew)
    await web.start(settings.web_host, settings.web_port)
    signals = asyncio.Queue[int]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    lives = [asyncio.create_task(worker.run()) for worker in crew]
    watch = asyncio.create_task(_obey(signals, crew))
    try:
        running = set(lives)
        while running:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            final = [task.result() for task in ended if task.result() in FINAL]
            if final and running:
                log.error("a worker cannot go on: all of them stop", code=final[0])
                for worker in crew:
                    worker.stop()
        return _together([task.result() for task in lives])
    finally:
        watch.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await web.stop()


async def _obey(signals: "asyncio.Queue[int]", crew: Sequence[DeviceWorker]) -> None:
    log.info("all workers stop", signal=signal.Signals(await signals.get()).name)
    for worker in crew:
        worker.stop()
    log.warning("all workers end at once", signal=signal.Signals(await signals.get()).name)
    for worker in crew:
        worker.kill()


def _variables(settings: Settings, number: int) -> Mapping[str, str]:
    """What differs from worker to worker."""
    variables = {}
    if settings.log_format == "auto" and sys.stderr.isatty():
        variables["MODERATION_LOG_FORMAT"] = "console"  # to the worker it is a pipe
    if settings.group_instance_id:
        variables["MODERATION_GROUP_INSTANCE_ID"] = f"{settings.group_instance_id}-{number}"
    return variables


def _together(codes: Sequence[int]) -> ExitCode:
    """How they all ended. One that was killed counts as not drained: what was in flight comes again."""
    known = [ExitCode(code) if code in _KNOWN else ExitCode.DRAIN_DEADLINE for code in codes]
    final = [code for code in known if code in FINAL]
    return max(final or known)
