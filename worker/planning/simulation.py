"""Simulation of one worker: events that arrive at random, the worker's own batchers, and a device that takes its time.

It is the queue that decides latency, and the queue is the worker's own code (`Batcher`, `TokenBudget`); only the clock
and the device are simulated. As in the worker (`moderation/guard_lane.py`) every guard has a lane, all lanes share the
one device, and an event is judged when the last of its checks is.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget
from worker.planning.cost import Message

_WARM_SHARE: Final = 0.1  # of the events: the first ones find an empty queue and do not count


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives: Poisson arrivals, messages drawn one by one."""

    per_second: float
    message: Callable[[random.Random], Message]
    events: int = 10_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """One guard, which has one check of each event."""

    seconds: Callable[[Sequence[Message]], float]  # that a batch takes on the device
    batch_tokens: int
    tokens: Callable[[Message], int]  # of its check, as the batcher counts them


@dataclass(frozen=True, slots=True)
class Worker:
    """What is simulated."""

    lanes: Sequence[Lane]  # in the order in which the worker asks its guards
    batch_wait: float  # seconds that the oldest check of an idle lane waits for company
    stream: Callable[[random.Random], float]  # seconds of an event besides its guards: Kafka, preparation, publishing
    handover: float = 0.0  # seconds that the device stands still before a batch, until its thread gets a CPU


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in seconds from arrival to verdict."""

    per_second: float  # judged, from the first arrival to the last verdict
    busy: float  # share of the time that the device works
    batch_events: float  # mean, of the first lane
    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Passage:
    """One event as a stream was seen to carry it; seconds on one clock."""

    message: Message
    sent: float
    reached: float  # the guards
    back: float  # from its verdict to whoever reads it, seconds


def simulate(worker: Worker, load: Load) -> Outcome:
    """Runs the load through one worker. The same seed gives the same outcome."""
    # Delays that are drawn for each event alone leave Poisson arrivals what they are: it makes no difference to the
    # queue how much of the stream's time comes before it.
    rng = random.Random(f"stream {load.seed}")
    passages = [Passage(message, at, at, worker.stream(rng)) for at, message in arrivals(load)]
    return replay(worker, passages, uncounted=_WARM_SHARE)


def replay(worker: Worker, passages: Sequence[Passage], uncounted: float = 0.0) -> Outcome:
    """Gives events to one worker's guards at the times at which a stream brought them there: what it held up together
    comes together. `uncounted`: the share of the events, the first ones, that the latencies leave out."""
    passages = sorted(passages, key=lambda each: each.reached)
    run = Run(worker, [(each.reached, each.message) for each in passages])
    run.to_the_end()
    judged = [event.judged - each.sent + each.back for event, each in zip(run.events, passages, strict=True)]
    counted = sorted(judged[int(uncounted * len(judged)) :])
    p50, p95, p99 = (counted[int(share * (len(counted) - 1))] for share in (0.5, 0.95, 0.99))
    whole = max(event.judged for event in run.events) - passages[0].reached
    return Outcome(
        per_second=len(judged) / whole,
        busy=run.busy / whole,
        batch_events=len(judged) / run.lanes[0].batches,
        mean=sum(counted) / len(counted),
        p50=p50,
        p95=p95,
        p99=p99,
    )


def arrivals(load: Load) -> list[tuple[float, Message]]:
    """When what arrives."""
    rng, at, found = random.Random(load.seed), 0.0, []
    for _ in range(load.events):
        at += rng.expovariate(load.per_second)
        found.append((at, load.message(rng)))
    return found


@dataclass(slots=True)
class Event:
    """One event; `judged` is the time of its last check."""

    message: Message
    arrived: float
    left: int  # checks
    judged: float = math.inf


@dataclass(slots=True)
class _Check:
    event: Event
    arrived: float
    tokens: int


class _Queue:
    """A lane's checks, and where its next batch is: in the device's line at most once."""

    def __init__(self, lane: Lane, wait: float) -> None:
        self.lane = lane
        self.batcher: Batcher[_Check] = Batcher(TokenBudget(lane.batch_tokens), wait)
        self.in_line = False
        self.on_device = False
        self.batches = 0

    def joins_at(self, now: float) -> float:
        """When its next batch takes its place in the device's line; it still grows there."""
        due = None if self.in_line else self.batcher.due_at()
        if due is None:
            return math.inf
        return now if self.on_device else max(due, now)


class Run:
    """One pass of events, each (seconds, message) in the order of time, through a worker."""

    def __init__(self, worker: Worker, coming: Sequence[tuple[float, Message]]) -> None:
        self.lanes = [_Queue(lane, worker.batch_wait) for lane in worker.lanes]
        self.events = [Event(message, at, len(self.lanes)) for at, message in coming]
        self.busy = 0.0  # seconds
        self._handover = worker.handover
        self._now = 0.0
        self._line: deque[_Queue] = deque()  # for the device
        self._boarded: tuple[_Queue, Sequence[_Check]] | None = None
        self._free_at = math.inf  # when what is on the device comes back

    def to_the_end(self) -> None:
        """Judges everything."""
        for event in self.events:
            while (at := self._next()) < event.arrived:
                self._step(at)
            self._now = event.arrived
            for queue in self.lanes:
                queue.batcher.add(_Check(event, event.arrived, queue.lane.tokens(event.message)))
        while (at := self._next()) < math.inf:
            self._step(at)

    def _next(self) -> float:
        return min(self._free_at, *(queue.joins_at(self._now) for queue in self.lanes))

    def _step(self, at: float) -> None:
        """What comes next: a batch comes back, or one takes its place in the line."""
        self._now = at
        if self._free_at <= at:
            self._land()
        else:
            joining = min(self.lanes, key=lambda queue: queue.joins_at(at))
            joining.in_line = True
            self._line.append(joining)
        if self._boarded is None and self._line:
            self._board(self._line.popleft())

    def _board(self, queue: _Queue) -> None:
        checks = queue.batcher.take()
        seconds = queue.lane.seconds([check.event.message for check in checks])
        queue.in_line, queue.on_device = False, True
        queue.batches += 1
        self.busy += seconds
        self._boarded, self._free_at = (queue, checks), self._now + self._handover + seconds

    def _land(self) -> None:
        assert self._boarded is not None
        queue, checks = self._boarded
        queue.on_device = False
        self._boarded, self._free_at = None, math.inf
        for check in checks:
            check.event.left -= 1
            if not check.event.left:
                check.event.judged = self._now
