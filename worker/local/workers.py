"""Worker processes for the demo: started, watched and stopped by their process ids."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from worker.local.ports import free_ports
from worker.settings import CONFIG_VARIABLE

_STOP_SECONDS = 40  # above drain_seconds
_TAIL_LINES = 15


class WorkerDied(RuntimeError):
    """A worker ended by itself; the message has the end of its log."""


class WorkerProcess:
    """One `moderation-worker run` with its log in a file. A context manager: it is stopped at the end."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        command: Sequence[str] = ("-m", "worker", "run"),
    ) -> None:
        """`environment` has the settings as MODERATION_ variables, and no other settings act, neither of this process's
        environment nor of a file; `command` is what the Python interpreter is to run."""
        self.name = name
        self.log = folder / f"{name}.log"
        (self.port,) = free_ports(1)
        own = {
            "MODERATION_WEB_HOST": "127.0.0.1",
            "MODERATION_WEB_PORT": str(self.port),
            "MODERATION_LOG_FORMAT": "json",
        }
        no_file = {CONFIG_VARIABLE: os.devnull}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, *command],
                env={**inherited, **no_file, **environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop it in our own order
            )

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raises WorkerDied where it has ended."""
        if (code := self._process.poll()) is not None:
            raise WorkerDied(f"{self.name} ended with exit code {code}; the end of its log:\n{self.tail()}")

    def ready(self) -> bool:
        """Whether /readyz says so. Raises WorkerDied."""
        self.check()
        return self._get("/readyz") is not None

    def metrics(self) -> str:
        """The text of /metrics; empty where it does not answer."""
        return self._get("/metrics") or ""

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL past the drain; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None
