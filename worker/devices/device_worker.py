"""The worker of one device: a process that is started, watched and started again."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from worker.exit_codes import ExitCode
from worker.local.ports import LOOPBACK, free_ports
from worker.observability import metrics

log = structlog.get_logger(__name__)

LONGEST_WAIT = 60.0  # seconds between two starts
RAN_WELL = 60.0  # seconds, after which the next wait is the first one again
_CHUNK = 1 << 16
_PR_SET_PDEATHSIG = 1

# Another start would end in the same way: settings that cannot be used, and limits that a person should look at.
FINAL = frozenset({ExitCode.CONFIG, ExitCode.DEAD_LETTERS, ExitCode.GUARD_DOWN})


@dataclass(frozen=True, slots=True)
class Device:
    """A device, and the variables that give it to a worker."""

    name: str
    variables: Mapping[str, str]

    @classmethod
    def of(cls, name: str, visible: str | None) -> "Device":
        """`cpu`, or a GPU by its number or UUID. `visible`: CUDA_VISIBLE_DEVICES as it is here; numbers count these.
        Raises ValueError."""
        if name == "cpu":
            return cls(name, {"MODERATION_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""})
        if name.isdecimal() and visible is not None:
            ours = [each.strip() for each in visible.split(",") if each.strip()]
            if int(name) >= len(ours):
                raise ValueError(f"CUDA_VISIBLE_DEVICES={visible} has no device {name}")
            return cls(name, {"MODERATION_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ours[int(name)]})
        if not name.isdecimal() and not name.startswith(("GPU-", "MIG-")):
            raise ValueError(f"{name!r} is neither `cpu`, nor a GPU's number, nor its UUID (GPU-..., MIG-...)")
        return cls(name, {"MODERATION_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": name})


class DeviceWorker:
    """Keeps a worker running until it is told to stop, or the worker ends in a way that is final."""

    def __init__(
        self,
        number: int,
        device: Device,
        command: Sequence[str],
        variables: Mapping[str, str],
        write: Callable[[bytes], object] = lambda line: os.write(2, line),
        first_wait: float = 1.0,
    ) -> None:
        """`command`: what the Python interpreter is to run. `variables` come over those of this process. `write` gets
        each line of the worker's output."""
        self.number, self.device = number, device
        self.port = 0  # of its health and metrics, on the loopback; 0 while it does not run
        self.restarts = 0
        self.answered = False  # whether this process of it has ever answered a probe
        self.began = 0.0  # when this process of it was started, of time.monotonic
        self._command, self._variables, self._write, self._first_wait = command, variables, write, first_wait
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._up = metrics.WORKER_UP.labels(str(number), device.name)
        self._restarted = metrics.WORKER_RESTARTS.labels(str(number))

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether its process is there; one that has just ended need not have been seen to yet."""
        if self._process is None or self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):  # macOS: it is seen to soon
            return True
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    async def run(self) -> int:
        """Starts it, and again whenever it ends; its last exit code."""
        wait = self._first_wait
        while True:
            self.began = time.monotonic()
            try:
                code = await self._once()
            except OSError as error:  # no memory or no process for it: the others run on
                log.error("worker cannot be started", worker=self.number, cause=str(error))
                code = ExitCode.CRASH
            if self._stopping.is_set() and code == -signal.SIGTERM and not self.answered:
                return ExitCode.OK  # Python itself was still starting: it had taken nothing
            if self._stopping.is_set() or code in FINAL:
                return code
            if time.monotonic() - self.began >= RAN_WELL:
                wait = self._first_wait
            log.error("worker ended", worker=self.number, device=self.device.name, code=code, starts_again_in=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            if self._stopping.is_set():
                return ExitCode.OK  # nothing was in flight: Kafka has redelivered it to others, or will
            wait = min(2 * wait, LONGEST_WAIT)
            self.restarts += 1
            self._restarted.inc()

    def stop(self) -> None:
        """Has it finish what it started; it is not started again."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _once(self) -> int:
        """One life of it; its exit code."""
        (port,) = free_ports(1)
        web = {"MODERATION_WEB_HOST": LOOPBACK, "MODERATION_WEB_PORT": str(port)}
        self.answered = False
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            env={**os.environ, **self._variables, **self.device.variables, **web},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we stop it in our own order
            preexec_fn=_stop_with_parent(),
        )
        if self._stopping.is_set():  # asked meanwhile
            self._signal(signal.SIGTERM)
        self.port = port
        self._up.set(1)
        log.info("worker started", worker=self.number, device=self.device.name, pid=self._process.pid)
        try:
            assert self._process.stdout is not None
            await self._pass_on(self._process.stdout)
            return await self._process.wait()
        finally:
            self.port, self._process = 0, None
            self._up.set(0)

    async def _pass_on(self, output: asyncio.StreamReader) -> None:
        """Its lines, with its number, until it has closed its output."""
        rest = b""
        while chunk := await output.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._write(numbered(line, self.number) + b"\n")
        if rest:
            self._write(numbered(rest, self.number) + b"\n")


def numbered(line: bytes, worker: int) -> bytes:
    """A line of a worker's log with its number: a field of a JSON object, else before the line."""
    if line.startswith(b'{"') and line.endswith(b"}"):
        return b'{"worker": %d, ' % worker + line[1:]
    return b"[%d] %b" % (worker, line)


def _stop_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel stops the worker, as SIGTERM does, even if this process is killed; elsewhere nothing does."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: nothing but the call itself happens after it
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
