"""A SIGTERM while the worker still starts. That a SIGTERM while models load or it joins is no crash is in
test_failures.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from worker.exit_codes import ExitCode

RUN = ("-m", "worker", "run")


@pytest.mark.parametrize(
    "command",
    [RUN, (*RUN, "--devices", "cpu,cpu"), ("-m", "faust", "-A", "worker.stream.app", "worker")],
    ids=["run", "run --devices", "faust"],
)
def test_a_sigterm_before_the_loop_listens_ends_the_worker_well(command: Sequence[str], tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    os.mkfifo(settings)  # the worker reads its settings until we have written them: so there is a middle to be hit
    environment = {**os.environ, "MODERATION_CONFIG": str(settings)}
    with (
        subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE) as worker,
        settings.open("w"),  # returns when the worker has opened it
    ):
        worker.send_signal(signal.SIGTERM)
        _, told = worker.communicate(timeout=60)
    assert worker.returncode == ExitCode.OK, told.decode()
    assert orjson.loads(told)["event"] == "stopped before the start: nothing was taken"
