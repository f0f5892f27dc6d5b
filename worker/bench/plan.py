"""The planner against the worker: the same load through both, on a device that takes a known time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from worker.bench.free_guard import COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS
from worker.bench.stream import new_settings, side
from worker.local.kafka import local_kafka
from worker.local.stress import Stress, StressOptions
from worker.local.stress_tally import StressReport
from worker.planning.cost import Message
from worker.planning.simulation import Load, Worker, simulate
from worker.settings import Settings

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, measured and simulated. Latencies in milliseconds."""

    rate: float
    measured_per_second: float
    simulated_per_second: float
    measured_p99_ms: float
    simulated_p99_ms: float

    def __str__(self) -> str:
        return (
            f"{self.rate:g} events/s: throughput {self.simulated_per_second:.0f} simulated, "
            f"{self.measured_per_second:.0f} measured ({self.simulated_per_second / self.measured_per_second:.2f}); "
            f"p99 {self.simulated_p99_ms:.0f} ms simulated, {self.measured_p99_ms:.0f} ms measured "
            f"({self.simulated_p99_ms / self.measured_p99_ms:.2f})"
        )


def bench_plan(bootstrap: str | None, rates: Sequence[float], say: Callable[[str], None]) -> list[Compared]:
    """Each rate through a real worker on a real Kafka and through the simulation. What Kafka and the stream add is
    measured with guards that cost nothing. Raises KafkaUnavailable."""
    with local_kafka(bootstrap, say=say) as kafka:
        return [asyncio.run(_compared(kafka.bootstrap_servers, rate)) for rate in rates]


async def _compared(bootstrap: str, rate: float) -> Compared:
    free = await _stress(bootstrap, "worker", rate)
    real = await _stress(bootstrap, "costly", rate)
    simulated = simulate(_worker((free.p50_ms or 0.0) / 1000), Load(rate, _message, int(rate * _SECONDS)))
    return Compared(rate, real.answered_per_second, simulated.per_second, real.p99_ms or 0.0, simulated.p99 * 1000)


async def _stress(bootstrap: str, kind: str, rate: float) -> StressReport:
    settings = {**await new_settings(bootstrap), "verdict_cache_bytes": "0"}
    chosen = Settings.model_validate(settings)
    with side(kind, settings):
        await Stress(chosen, StressOptions(rate=min(rate, 50), seconds=5)).run()  # until it runs, and is warm
        return await Stress(chosen, StressOptions(rate=rate, seconds=_SECONDS)).run()


def _message(_rng: Random) -> Message:
    return Message(0)


def _worker(stream_seconds: float) -> Worker:
    """As `costly_guards` and the defaults of the settings have it."""
    defaults = Settings()
    fitting = defaults.llama_guard_batch_tokens // 32  # checks of the free guards' 32 tokens in a batch
    return Worker(
        seconds=lambda batch: COSTLY_BATCH_SECONDS + COSTLY_CHECK_SECONDS * len(batch),
        batch_tokens=fitting * Message(0).check_tokens,
        batch_wait=defaults.batch_wait_ms / 1000,
        stream_seconds=stream_seconds,
    )
