"""A guard's lane on a device that the test holds."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from opentelemetry.trace import Span
from prometheus_client import REGISTRY

from tests.fakes import FakeGuard
from worker.contract.record import PlainRecord
from worker.guards.guard import Check, Fault, Finding, Preparation
from worker.guards.runner import Judged
from worker.moderation.decision import GuardAnswer
from worker.moderation.guard_lane import GuardLane
from worker.moderation.request import Request, tell

LONG = 1000.0  # seconds of waiting for company that no test reaches


class HandDevice:
    """A device that judges one batch at a time, until the test says so; the score of a check is its payload."""

    def __init__(self) -> None:
        self.batches: list[list[Check]] = []  # that went on the device
        self.futures: list[Future[Judged]] = []
        self.boards: list[Callable[[], list[Check]]] = []
        self.sent = asyncio.Event()
        self.broken = False  # every check fails

    def submit(self, guard: object, board: Callable[[], list[Check]]) -> "Future[Judged]":
        self.futures.append(Future())
        self.boards.append(board)
        self._next()
        self.sent.set()
        return self.futures[-1]

    @property
    def payloads(self) -> list[list[float]]:
        return [[check.payload for check in batch] for batch in self.batches]

    async def land(
        self,
        error: Exception | None = None,
        *,
        findings: Sequence[Any] | None = None,
        out_of_memory: int | None = None,
        passed: int = 0,
    ) -> None:
        """The batch on the device comes back, and the next one goes on it."""
        on_device = self.futures[len(self.batches) - 1]
        if error is None:
            fails = Finding(None, fault=Fault.GUARD_ERROR)
            found = [fails if self.broken else Finding(check.payload) for check in self.batches[-1]]
            on_device.set_result(Judged(list(findings or found), 2.0, passed, out_of_memory))
        else:
            on_device.set_exception(error)
        self._next()
        await settle()

    def _next(self) -> None:
        begun = len(self.batches)
        if begun < len(self.boards) and all(future.done() for future in self.futures[:begun]):
            try:
                self.batches.append(self.boards[begun]())
            except Exception as error:  # as the device's thread has it
                self.batches.append([])
                self.futures[begun].set_exception(error)


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def settle() -> None:
    """Lets everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


class Asked:
    """An event, on its way through one guard's lane."""

    def __init__(self, lane: GuardLane, *checks: Check, span: Span | None = None) -> None:
        self.told = 0
        self._lane, self._answered = lane, asyncio.Event()
        self.request = Request(PlainRecord("t", 0, 0), 0.0, self._tell)
        self.request.answers = [GuardAnswer(lane.guard.name, Preparation(checks))]
        self.request.left, self.request.span = len(checks), span
        tell(lane.submit([self.request]))

    def _tell(self, _requests: Sequence[Request]) -> None:
        self.told += 1
        self._answered.set()

    def give_up(self) -> None:
        """As the panel does it."""
        self.request.over = True
        self._lane.gave_up(self.request)

    @property
    def done(self) -> bool:
        return self._answered.is_set()

    async def findings(self) -> list[Finding]:
        """Of all its checks; raises what it fails with."""
        async with asyncio.timeout(60):
            await self._answered.wait()
        assert self.told == 1
        if self.request.error is not None:
            raise self.request.error
        return list(self.request.answers[0].findings)


class Lane:
    """A lane with its device and clock."""

    def __init__(
        self,
        budget: int = 100,
        max_wait: float = LONG,
        timeout: float = math.inf,
        failures: int = 0,
        on_guard_down: Callable[[], None] | None = None,
    ) -> None:
        self.device, self.clock = HandDevice(), HandClock()
        self.told_started: list[Request] = []
        self.told_of_device: list[BaseException | str] = []
        self.lane = GuardLane(
            FakeGuard(),
            self.device,  # type: ignore[arg-type]
            tell,
            batch_tokens=budget,
            max_wait=max_wait,
            timeout=timeout,
            breaker_failures=failures,
            on_started=self.told_started.extend,
            on_landed=lambda: self.told_of_device.append("landed"),
            on_lost=self.told_of_device.append,
            on_guard_down=on_guard_down,
            clock=self.clock,
        )

    async def judge(self, *checks: tuple[int, float]) -> Asked:
        """Queues an event's checks, each of (tokens, payload)."""
        asked = Asked(self.lane, *(Check(tokens, payload) for tokens, payload in checks))
        await settle()
        return asked


def found(asked: Asked) -> list[Finding]:
    """What is there already."""
    assert asked.done and asked.request.error is None
    return list(asked.request.answers[0].findings)


def scores(asked: Asked) -> list[float | None]:
    return [finding.score for finding in found(asked)]


def metric(name: str, guard: str = "llama_guard") -> float:
    return REGISTRY.get_sample_value(name, {"guard": guard}) or 0.0
