"""A worker a device: small scripts stand for the workers, and end as they are told."""

import asyncio
import itertools
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from worker.devices.device_worker import Device, DeviceWorker, numbered
from worker.devices.supervisor import devices_of, run_on_devices
from worker.exit_codes import ExitCode
from worker.settings import Settings, SettingsError

CPU = Device("cpu", {})
# Each start writes the time into a file of the worker's own, by which the next start knows what it is.
SCRIPT = """
import os, pathlib, signal, sys, time
file = pathlib.Path({folder!r}, os.environ.get("MODERATION_GROUP_INSTANCE_ID", "only"))
starts = len(file.read_text().splitlines()) if file.exists() else 0
ends = {ends}.get(file.name, [])
def stop(*_):
    sys.exit({stopped})
signal.signal(signal.SIGTERM, {on_term})
print('{{"event": "hello"}}', flush=True)
with file.open("a") as out:
    out.write(f"{{time.monotonic()}}\\n")
if starts < len(ends):
    sys.exit(ends[starts])
time.sleep(3600)
"""


def script(folder: Path, ends: dict[str, list[int]], *, stopped: int = 0, on_term: str = "stop") -> Sequence[str]:
    """What ends with these codes, one a start, and then runs until SIGTERM."""
    return "-c", SCRIPT.format(folder=str(folder), ends=ends, stopped=stopped, on_term=on_term)


def settings() -> Settings:
    return Settings.model_validate({"web_host": "127.0.0.1", "web_port": 0, "group_instance_id": "w"})


async def started(folder: Path, name: str, times: int = 1) -> list[float]:
    """When it was started, once it has been so often."""
    async with asyncio.timeout(60):
        while len(times_of(folder, name)) < times:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.02)
    return times_of(folder, name)


def times_of(folder: Path, name: str) -> list[float]:
    file = folder / name
    return [float(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_a_worker_that_ends_is_started_again_after_growing_waits(tmp_path: Path) -> None:
    lines: list[bytes] = []
    command = script(tmp_path, {"only": [70, 0, 75]})
    worker = DeviceWorker(7, CPU, command, {}, lines.append, first_wait=0.2)
    life = asyncio.create_task(worker.run())
    times = await started(tmp_path, "only", 4)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap >= wait for gap, wait in zip(gaps, [0.2, 0.4, 0.8], strict=True)), gaps
    assert worker.restarts == 3
    worker.stop()
    assert await life == ExitCode.OK
    assert [orjson.loads(line) for line in lines] == [{"worker": 7, "event": "hello"}] * 4


async def test_one_that_waits_for_its_next_start_is_stopped_at_once(tmp_path: Path) -> None:
    worker = DeviceWorker(0, CPU, script(tmp_path, {"only": [70]}), {}, first_wait=1000.0)
    life = asyncio.create_task(worker.run())
    await started(tmp_path, "only")
    async with asyncio.timeout(60):
        while worker.pid is not None:  # noqa: ASYNC110  # another process ends
            await asyncio.sleep(0.02)
    worker.stop()
    assert await asyncio.wait_for(life, 60) == ExitCode.OK


async def test_one_that_has_just_been_killed_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    worker = DeviceWorker(0, CPU, script(tmp_path, {}), {}, first_wait=1000.0)
    assert not worker.alive
    life = asyncio.create_task(worker.run())
    await started(tmp_path, "only")
    assert worker.alive and worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    while worker.alive:
        time.sleep(0.01)  # noqa: ASYNC251  # the event loop is to stand still
    assert worker.port, "nobody has seen to it yet"
    worker.stop()
    await asyncio.wait_for(life, 60)


@pytest.mark.parametrize("code", [ExitCode.CONFIG, ExitCode.DEAD_LETTERS, ExitCode.GUARD_DOWN])
async def test_what_another_start_cannot_mend_stops_all(code: ExitCode, tmp_path: Path) -> None:
    command = script(tmp_path, {"w-1": [int(code)]})
    assert await asyncio.wait_for(run_on_devices([CPU, CPU], settings(), command), 60) == code
    assert len(times_of(tmp_path, "w-1")) == 1, "it was not started again"


@pytest.mark.parametrize(("stopped", "expected"), [(0, ExitCode.OK), (75, ExitCode.DRAIN_DEADLINE)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_all(number: int, stopped: int, expected: ExitCode, tmp_path: Path) -> None:
    life = asyncio.create_task(run_on_devices([CPU, CPU], settings(), script(tmp_path, {}, stopped=stopped)))
    await asyncio.gather(started(tmp_path, "w-0"), started(tmp_path, "w-1"))
    os.kill(os.getpid(), number)
    assert await asyncio.wait_for(life, 60) == expected
    assert [len(times_of(tmp_path, name)) for name in ("w-0", "w-1")] == [1, 1]


async def test_one_that_is_stopped_while_python_starts_has_stopped_well(tmp_path: Path) -> None:
    command = script(tmp_path, {}, on_term="signal.SIG_DFL")  # as long as no handler is there yet
    life = asyncio.create_task(run_on_devices([CPU], settings(), command))
    await started(tmp_path, "w-0")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(life, 60) == ExitCode.OK


async def test_a_second_signal_ends_them_at_once(tmp_path: Path) -> None:
    command = script(tmp_path, {}, on_term="signal.SIG_IGN")
    life = asyncio.create_task(run_on_devices([CPU, CPU], settings(), command))
    await asyncio.gather(started(tmp_path, "w-0"), started(tmp_path, "w-1"))
    os.kill(os.getpid(), signal.SIGTERM)
    assert not (await asyncio.wait([life], timeout=0.5))[0], "they do not listen"
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(life, 60) == ExitCode.DRAIN_DEADLINE


async def test_a_port_that_is_taken_is_told_before_any_worker_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        there = settings().model_copy(update={"web_port": taken.getsockname()[1]})
        with pytest.raises(SettingsError, match="web_port"):
            await run_on_devices([CPU], there, script(tmp_path, {}))
    assert times_of(tmp_path, "w-0") == []


def test_a_line_has_the_workers_number() -> None:
    assert numbered(b'{"event": "x"}', 1) == b'{"worker": 1, "event": "x"}'
    assert numbered(b"Fatal Python error: Segmentation fault", 0) == b"[0] Fatal Python error: Segmentation fault"
    assert numbered(b"{}", 2) == b"[2] {}"


def test_devices_by_number_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    visible = [device.variables["CUDA_VISIBLE_DEVICES"] for device in devices_of("0, 1,GPU-5a,cpu,cpu")]
    assert visible == ["0", "1", "GPU-5a", "", ""]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-77")
    assert [device.variables["CUDA_VISIBLE_DEVICES"] for device in devices_of("1,0")] == ["GPU-77", "3"]


@pytest.mark.parametrize("words", ["", ",", "0,0", "gpu", "-1", "2", "cuda:0"])
def test_devices_that_make_no_sense_are_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ValueError, match=r"."):
        devices_of(words)


async def test_a_worker_that_cannot_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, tries = asyncio.create_subprocess_exec, itertools.count()

    async def short_of_processes(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        if next(tries) == 0:
            raise BlockingIOError("Resource temporarily unavailable")
        return await create(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", short_of_processes)
    worker = DeviceWorker(0, CPU, script(tmp_path, {}), {}, first_wait=0.05)
    running = asyncio.create_task(worker.run())
    await started(tmp_path, "only")
    worker.stop()
    assert await running == ExitCode.OK
