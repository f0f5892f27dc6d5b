"""`python -m tests.stream.fake_worker`: a whole worker whose guards are fakes, quick enough for thousands of events.

The guards know no chance: "bomb" is S9, "ignore" is an attack. FAKE_DELAY is the seconds that a batch takes. Words in a
text that do something to the worker: "LOSE-THE-DEVICE" raises what ends the process, "KILL" and "KILL-IN-PREPARATION"
end it at once (SIGKILL, on the device's or on a CPU thread), "HANG" never returns, "BREAK" raises for this check alone,
"OUT-OF-MEMORY" is more than the device has memory for, "OUT-OF-MEMORY-TOGETHER" only beside other checks.
FAKE_HARMLESS names one of them that does nothing. FAKE_KILLED_BY_POLICY names a policy whose preparations kill the
worker. FAKE_LOAD_SECONDS is the time that loading takes. With FAKE_CARD there is a graphics card, for the metrics.

Variables that name a file, by which a test holds the worker for as long as the file is there: FAKE_BROKEN_WHILE makes
every check of llama_guard fail, FAKE_WAIT_WHILE holds the preparation of texts with "WAIT-IN-PREPARATION", and with
FAKE_WAIT_FROM all but the first so many preparations (so that a test has a middle whatever the machine's speed),
FAKE_SCRAPE_WAITS_WHILE every scrape of the metrics, FAKE_CONNECTION_WAITS_WHILE the consumer when it has connected, and
FAKE_BLOCKED_WHILE the event loop, from SIGHUP on.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import cast

from aiokafka import AIOKafkaConsumer
from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

from tests.fakes import FakeGuard, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Check, Finding, Guard, Preparation
from worker.guards.turns import turns_of
from worker.observability.logs import configure_logs
from worker.policy.policy import Policy
from worker.settings import Settings, load_settings
from worker.stream import source
from worker.stream.app import create_app
from worker.stream.early_stop import until_the_loop_listens
from worker.stream.host import host


def _content(text: str) -> Finding:
    if _held("FAKE_BROKEN_WHILE"):
        raise ValueError("the fake guard is broken")
    if _says(text, "LOSE-THE-DEVICE"):
        raise RuntimeError("CUDA error: the fake device is lost")  # as torch has it
    if _says(text, "KILL "):
        sys.stderr.write(f"the fake guard kills the worker: {text.split()[1]}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    if _says(text, "HANG"):
        sys.stderr.write("the fake guard hangs\n")
        sys.stderr.flush()
        time.sleep(3600)
    if _says(text, "BREAK"):
        raise ValueError("the fake guard broke")
    if _says(text, "OUT-OF-MEMORY "):
        raise MemoryError
    return Finding(0.9, ("S9",), {"S9": 0.8}) if "bomb" in text else Finding(0.1)


class _Killable(FakeGuard):
    """Content may kill its preparation, as a broken image kills a decoder written in C."""

    _prepared = itertools.count()  # on several threads

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        if (
            _says(turns_of(event)[-1].text, "KILL-IN-PREPARATION")
            or os.environ.get("FAKE_KILLED_BY_POLICY") == policy.name
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        late = next(self._prepared) >= float(os.environ.get("FAKE_WAIT_FROM", "inf"))
        while (late or "WAIT-IN-PREPARATION" in turns_of(event)[-1].text) and _held("FAKE_WAIT_WHILE"):
            time.sleep(0.01)
        return super().prepare(event, policy)

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        if len(checks) > 1 and any(_says(check.payload, "OUT-OF-MEMORY-TOGETHER") for check in checks):
            raise MemoryError
        return super().judge(checks)


def _held(variable: str) -> bool:
    return variable in os.environ and Path(os.environ[variable]).exists()


def _block(_number: int, _frame: FrameType | None) -> None:
    while _held("FAKE_BLOCKED_WHILE"):  # on the main thread: the event loop stands still
        time.sleep(0.01)


def _says(text: str, word: str) -> bool:
    return word in text and os.environ.get("FAKE_HARMLESS") != word


def _guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    if "FAKE_LOAD_SECONDS" in os.environ:
        sys.stderr.write("the fake models load\n")
        sys.stderr.flush()
        time.sleep(float(os.environ["FAKE_LOAD_SECONDS"]))
    delay = float(os.environ.get("FAKE_DELAY", "0"))
    prompt_guard = fake_prompt_guard(lambda text: 0.99 if "ignore" in text else 0.01)
    guards = _Killable("llama_guard", _content, delay), prompt_guard
    for guard in guards:
        guard.batches = deque(maxlen=0)  # a process that judges gigabytes must not keep them
    return guards


class _SlowScrape(Collector):
    def collect(self) -> Iterable[Metric]:
        while _held("FAKE_SCRAPE_WAITS_WHILE"):
            time.sleep(0.01)
        return []


class _SlowConnection(AIOKafkaConsumer):  # type: ignore[misc]
    async def start(self) -> None:
        await super().start()
        if _held("FAKE_CONNECTION_WAITS_WHILE"):
            sys.stderr.write("the fake consumer has connected\n")
            sys.stderr.flush()
        while _held("FAKE_CONNECTION_WAITS_WHILE"):  # noqa: ASYNC110  # another process holds it
            await asyncio.sleep(0.01)


def _card() -> SimpleNamespace:
    """As much of torch as the metrics of the device's memory ask for."""
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        empty_cache=lambda: None,
        device_count=lambda: 1,
        memory_reserved=lambda _device: 3 << 30,
        memory_allocated=lambda _device: 2 << 30,
        get_device_properties=lambda _device: SimpleNamespace(total_memory=24 << 30),
    )
    return SimpleNamespace(cuda=cuda)


if __name__ == "__main__":
    until_the_loop_listens()
    signal.signal(signal.SIGHUP, _block)
    if "FAKE_CARD" in os.environ:
        sys.modules["torch"] = cast("ModuleType", _card())
    REGISTRY.register(_SlowScrape())
    source.AIOKafkaConsumer = _SlowConnection
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    sys.exit(host(create_app(settings, _guards)))
