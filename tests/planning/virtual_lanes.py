"""The worker's own guard lanes on one device, in a time that passes only when nothing is left to do."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from tests.fakes import FakeGuard
from worker.contract.record import PlainRecord
from worker.guards.guard import Check, Finding, Guard, Preparation
from worker.guards.runner import Judged
from worker.moderation.decision import GuardAnswer
from worker.moderation.guard_lane import GuardLane
from worker.moderation.request import Request, tell
from worker.planning.cost import Message
from worker.planning.simulation import Worker


class Time:
    """What the lanes' clock and timers show; what is due happens in its order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = iter(range(1 << 60))

    def at(self, moment: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._due, (moment, next(self._count), call))

    async def pass_(self) -> None:
        """Until nothing is due any more."""
        while self._due:
            self.now, _, call = heapq.heappop(self._due)
            call()
            for _ in range(12):  # steps of the event loop that follow from it
                await asyncio.sleep(0)


class VirtualDevice:
    """As DeviceThread: batches one by one, in the order of submission; who is in one is asked at its turn."""

    def __init__(self, time: Time, seconds: dict[str, Callable[[int], float]]) -> None:
        self._time, self._seconds = time, seconds
        self._line: deque[tuple[Guard, Callable[[], Sequence[Check]], Future[Judged]]] = deque()
        self._busy = False

    def submit(self, guard: Guard, board: Callable[[], Sequence[Check]]) -> "Future[Judged]":
        future: Future[Judged] = Future()
        self._line.append((guard, board, future))
        if not self._busy:
            self._next()
        return future

    def _next(self) -> None:
        guard, board, future = self._line.popleft()
        checks = board()
        self._busy = True
        self._time.at(self._time.now + self._seconds[guard.name](len(checks)), lambda: self._land(checks, future))

    def _land(self, checks: Sequence[Check], future: "Future[Judged]") -> None:
        self._busy = False
        if self._line:  # the device waits for no other thread
            self._next()
        future.set_result(Judged([Finding(0.0)] * len(checks)))


async def by_the_worker(worker: Worker, arrivals: Sequence[float]) -> list[float]:
    """When the worker's own lanes, with this worker's figures, have judged events that arrive at these times."""
    time, loop = Time(), asyncio.get_running_loop()
    loop.call_later = lambda delay, call, *more: time.at(time.now + delay, lambda: call(*more))  # type: ignore
    seconds = {
        str(number): lambda count, lane=lane: lane.seconds([Message(30)] * count)
        for number, lane in enumerate(worker.lanes)
    }
    device = VirtualDevice(time, seconds)
    lanes = [
        GuardLane(
            FakeGuard(str(number)),
            device,  # type: ignore[arg-type]
            tell,
            batch_tokens=lane.batch_tokens,
            max_wait=worker.batch_wait,
            clock=lambda: time.now,
        )
        for number, lane in enumerate(worker.lanes)
    ]
    judged = [0.0] * len(arrivals)

    def arrive(number: int) -> None:
        request = Request(PlainRecord("t", 0, number), at, lambda _: judged.__setitem__(number, time.now))
        request.answers = [GuardAnswer(lane.guard.name, Preparation([Check(1, None)])) for lane in lanes]
        request.left = len(lanes)
        for position, lane in enumerate(lanes):
            lane.submit([request], position)

    for number, at in enumerate(arrivals):
        time.at(at, lambda number=number: arrive(number))
    try:
        await time.pass_()
    finally:
        del loop.call_later
    return judged
