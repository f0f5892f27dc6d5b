"""A SIGTERM while the worker still starts. That a SIGTERM while models load or it joins is no crash is in
test_failures.py."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pytest

from worker.exit_codes import ExitCode
from worker.local.ports import LOOPBACK, free_ports

RUN = ("-m", "worker", "run")
FAUST = ("-m", "faust", "-A", "worker.stream.app", "worker")
_SECONDS = 120


@contextmanager
def started(command: Sequence[str], **variables: object) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, with settings that meet nobody's Kafka."""
    kafka, web = free_ports(2)
    ours = {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}
    ours |= {"MODERATION_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{kafka}", "MODERATION_WEB_PORT": str(web)}
    ours |= {key: str(value) for key, value in variables.items()}
    with subprocess.Popen([sys.executable, *command], env=ours, stderr=subprocess.PIPE) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def hold(worker: subprocess.Popen[bytes], pipe: Path) -> int:
    """Waits until the worker reads from the pipe, and holds it there until what is returned is closed."""
    for _ in range(_SECONDS * 20):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO, error  # nobody reads yet
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.05)
    raise TimeoutError(f"{pipe} is not read")


def ends_well(worker: subprocess.Popen[bytes], pipe: Path) -> None:
    held = hold(worker, pipe)
    try:
        told = _stopped(worker)
    finally:
        os.close(held)
    assert worker.returncode == ExitCode.OK, told.decode()
    line = orjson.loads(told)
    assert line["event"] == "stopped before the start: nothing was taken"
    assert line.keys() >= {"logger", "level", "timestamp"}, "a line as all others are"


def _stopped(worker: subprocess.Popen[bytes]) -> bytes:
    """SIGTERM; what it said on standard error. Sent again where it came between Python's last look at its signals and
    the pipe, where it waits for us."""
    for _ in range(_SECONDS):
        worker.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return worker.communicate(timeout=1)[1]
    raise TimeoutError("SIGTERM does not end it")


@pytest.mark.parametrize("command", [RUN, (*RUN, "--devices", "cpu,cpu"), FAUST], ids=["run", "devices", "faust"])
def test_a_sigterm_before_the_loop_listens_ends_the_worker_well(command: Sequence[str], tmp_path: Path) -> None:
    pipe = tmp_path / "settings.toml"
    os.mkfifo(pipe)  # the worker reads its settings until we have written them: so there is a middle to be hit
    with started(command, MODERATION_CONFIG=pipe) as worker:
        ends_well(worker, pipe)


def test_a_sigterm_while_the_commands_are_imported_ends_the_worker_well(tmp_path: Path) -> None:
    pipe = tmp_path / "held"
    os.mkfifo(pipe)
    (tmp_path / "typer.py").write_text(f"open({str(pipe)!r}).read()\n")  # the command line's library, in its stead
    with started(RUN, PYTHONPATH=tmp_path) as worker:
        ends_well(worker, pipe)
