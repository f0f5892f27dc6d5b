"""Simulation of one worker: events that arrive at random, the worker's own batcher, and a device that takes its time.

It is the queue that decides latency, and the queue is the worker's own code (`Batcher`, `TokenBudget`); only the clock
and the device are simulated.
"""

import math
import random
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
    events: int = 20_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """What is simulated."""

    seconds: Callable[[Sequence[Message]], float]  # that a batch takes on the device
    batch_tokens: int
    batch_wait: float  # seconds that the oldest check waits for company while the device is idle
    stream_seconds: float = 0.0  # before and after the device: Kafka, preparation, publishing


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in seconds from arrival to verdict."""

    per_second: float  # judged, from the first arrival to the last verdict
    busy: float  # share of the time that the device works
    batch_events: float  # mean
    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class _Queued:
    message: Message
    arrived: float
    tokens: int


def simulate(worker: Worker, load: Load) -> Outcome:
    """Runs the load through one worker. The same seed gives the same outcome."""
    arrivals = _arrivals(load)
    batcher: Batcher[_Queued] = Batcher(TokenBudget(worker.batch_tokens), worker.batch_wait)
    latencies: list[float] = []
    free = busy = 0.0  # when the device is done with its batch, and how long it has worked
    batches = coming = 0
    while coming < len(arrivals) or len(batcher):
        due = batcher.due_at()
        # What came while the device worked leaves when it is done; else the oldest waits for company.
        leaves = math.inf if due is None else max(free, due) if batcher.oldest > free else free
        if coming < len(arrivals) and arrivals[coming].arrived <= leaves:
            batcher.add(arrivals[coming])
            coming += 1
            continue
        batch = batcher.take()
        took = worker.seconds([queued.message for queued in batch])
        free, busy, batches = leaves + took, busy + took, batches + 1
        latencies += [free - queued.arrived + worker.stream_seconds for queued in batch]
    counted = sorted(latencies[int(_WARM_SHARE * len(latencies)) :])
    p50, p95, p99 = (counted[int(share * (len(counted) - 1))] for share in (0.5, 0.95, 0.99))
    whole = free - arrivals[0].arrived
    return Outcome(len(arrivals) / whole, busy / whole, len(arrivals) / batches, p50, p95, p99)


def _arrivals(load: Load) -> list[_Queued]:
    rng, at, arrivals = random.Random(load.seed), 0.0, []
    for _ in range(load.events):
        at += rng.expovariate(load.per_second)
        message = load.message(rng)
        arrivals.append(_Queued(message, at, message.check_tokens))
    return arrivals
