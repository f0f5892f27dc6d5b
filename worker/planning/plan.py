"""Plan: pods, partitions, lag threshold and GPU hours for a stream."""

import math
import random
from dataclasses import dataclass
from typing import Final

from worker.planning.cost import Device, Message
from worker.planning.lengths import LENGTHS
from worker.planning.simulation import Lane, Load, Outcome, Worker, simulate
from worker.planning.stream_time import StreamTime
from worker.settings import Settings

HOURS_A_MONTH: Final = 730
_SPARE_SHARE: Final = 0.2  # of the pods: one may be away, and a peak is no average
_STEPS: Final = 9  # of the search for what a pod bears
_SEARCH_EVENTS: Final = 5_000  # of each step
_CATCH_UP_SECONDS: Final = 10  # of a pod's work: the lag from which another one is worth its start


@dataclass(frozen=True, slots=True)
class Demand:
    """What the stream is, and what is asked of it."""

    per_second: float
    lengths: str  # a name of LENGTHS
    image_share: float
    p99_seconds: float
    cached_share: float = 0.0  # of the events: identical content that is judged once

    def message(self, rng: random.Random) -> Message:
        """One event."""
        return Message(LENGTHS[self.lengths](rng), int(rng.random() < self.image_share))


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes."""

    pods: int
    partitions: int
    lag_threshold: int  # records a pod, for KEDA's or HPA's target
    gpu_hours_a_month: int
    pod_bears_per_second: float  # at the wanted p99
    pod: Outcome  # one pod at its share of the stream


def worker_of(device: Device, settings: Settings, stream: StreamTime) -> Worker:
    """A worker with these settings and both guards on one device."""
    return Worker(
        lanes=(
            Lane(device.seconds, settings.llama_guard_batch_tokens, lambda message: message.check_tokens),
            Lane(
                device.prompt_guard_seconds,
                settings.prompt_guard_batch_tokens,
                lambda message: message.prompt_guard_tokens,
            ),
        ),
        batch_wait=settings.batch_wait_ms / 1000,
        stream=stream,
    )


def plan_of(demand: Demand, worker: Worker, most: float) -> Plan:
    """The plan for workers of which each bears so many judged events a second."""
    judged = demand.per_second * (1 - demand.cached_share)
    pods = math.ceil(judged / most * (1 + _SPARE_SHARE))
    pods = max(pods, 2)  # one may be away
    return Plan(
        pods=pods,
        partitions=_partitions(pods),
        lag_threshold=max(1, round(most * _CATCH_UP_SECONDS)),
        gpu_hours_a_month=pods * HOURS_A_MONTH,
        pod_bears_per_second=most,
        pod=simulate(worker, Load(judged / pods, demand.message)),
    )


def bears(demand: Demand, worker: Worker) -> float:
    """The most events a second that one worker judges within the wanted p99, however many come. Raises ValueError
    where there is no such rate."""
    rng = random.Random(0)
    sample = [demand.message(rng) for _ in range(2000)]
    most = len(sample) / sum(lane.seconds(sample) for lane in worker.lanes)  # one endless batch
    low, high = 0.0, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if simulate(worker, Load(middle, demand.message, _SEARCH_EVENTS)).p99 <= demand.p99_seconds:
            low = middle
        else:
            high = middle
    if low == 0.0:
        raise ValueError(f"no worker answers within {demand.p99_seconds * 1000:g} ms: one batch alone takes longer")
    return low


def _partitions(pods: int) -> int:
    """Each pod needs one at least; twice as many leave room to grow, and divide evenly more often."""
    return 1 << math.ceil(math.log2(2 * pods))
