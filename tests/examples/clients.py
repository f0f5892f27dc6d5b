"""The example clients as a user builds and runs them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stream.rig import Rig

EXAMPLES = Path(__file__).parents[2] / "examples"
_BUILD_SECONDS = 900
_SECONDS = 240


@dataclass(frozen=True)
class Client:
    """Commands that run, and the exit code after SIGTERM."""

    produce: tuple[str, ...]
    consume: tuple[str, ...]
    stopped: int = 0


async def python() -> Client:
    """Nothing to build."""
    folder = EXAMPLES / "python"
    return Client((sys.executable, str(folder / "produce.py")), (sys.executable, str(folder / "consume.py")))


async def java() -> Client:
    """Built by Maven; skips the test aloud where there is no JDK or no Maven."""
    folder = EXAMPLES / "java"
    _need("javac", "a JDK of version 17 or newer")
    await _run(_need("mvn", "Maven"), "-q", "-B", "compile", folder=folder)
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # to start
    command = (_need("java", "a JDK"), *quick, "-cp", f"{folder}/target/classes:{folder}/target/lib/*")
    ended = 128 + signal.SIGTERM  # a JVM's own, however orderly it ends
    return Client((*command, "moderation.examples.Produce"), (*command, "moderation.examples.Consume"), ended)


async def go() -> Client:
    """Built by Go; skips the test aloud where it is missing, or older than go.mod wants."""
    folder = EXAMPLES / "go"
    program = _need("go", "Go")
    try:
        await _run(program, "env", "GOVERSION", folder=folder)  # fetches a newer one where it may
    except AssertionError as refusal:
        pytest.skip(f"needs a newer Go: {refusal}")
    await _run(program, "build", "-o", "build/", "./...", folder=folder)
    return Client((str(folder / "build/produce"),), (str(folder / "build/consume"),))


def _need(program: str, what: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}: install {what}")
    return found


async def _run(*command: str, folder: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(_BUILD_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {said.decode()[-3000:]}"


@dataclass
class Programs:
    """Runs programs in the environment that the examples want."""

    rig: Rig

    @property
    def verdict_topics(self) -> list[str]:
        """Those that enforcement reads."""
        return [self.rig.outputs[f"{label}_topic"] for label in ("safe", "unsafe", "review")]

    async def run(self, *command: str, stdin: bytes = b"") -> list[str]:
        """The lines of its standard output. Raises AssertionError where it does not end well."""
        async with self._started(*command) as process:
            async with asyncio.timeout(_SECONDS):
                out, _ = await process.communicate(stdin)
            assert process.returncode == 0, self._log.read_text()
        return out.decode().splitlines()

    async def lines(
        self, client: Client, group: str, until: Callable[[list[dict[str, Any]]], bool], stop: asyncio.Event
    ) -> list[dict[str, Any]]:
        """What the client's consumer says until the condition holds and `stop` is set; then it gets SIGTERM."""
        said: list[dict[str, Any]] = []
        async with self._started(*client.consume, GROUP_ID=group) as process:
            assert process.stdout is not None
            async with asyncio.timeout(_SECONDS):
                while not until(said):
                    line = await process.stdout.readline()
                    assert line, f"it ended: {self._log.read_text()}"
                    said.append(json.loads(line))
                await stop.wait()
                process.send_signal(signal.SIGTERM)
                rest = await process.stdout.read()
                assert await process.wait() == client.stopped, self._log.read_text()
        return said + [json.loads(line) for line in rest.splitlines()]

    @property
    def _log(self) -> Path:
        return self.rig.folder / "client.log"

    @contextlib.asynccontextmanager
    async def _started(self, *command: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
        environment = {
            "BOOTSTRAP_SERVERS": self.rig.bootstrap,
            "EVENTS_TOPIC": self.rig.input_topic,
            "VERDICT_TOPICS": ",".join(self.verdict_topics),
        }
        pipe = asyncio.subprocess.PIPE
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env={**os.environ, **environment, **variables}, stdin=pipe, stdout=pipe, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
