"""The planner against the worker: the same load through both, on a device that takes a known time and what the machine
adds to it: a thread that slept, or wants the next batch, has to wait for a core. That is measured in the same turns,
as `bench guards` measures a card, because all queues grow with it.

What the stream takes by itself is measured with guards that cost nothing, in turns with the run that is compared, so
that both see the same machine. It comes into the simulation in two ways: replayed, event by event as that run had them,
so that what was held up together stays together; and drawn, as `moderation-worker plan` does it.
"""

import asyncio
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Final

from worker.bench.device_cost import DeviceCost
from worker.bench.free_guard import COSTLY_BATCH_SECONDS, COSTLY_CHECK_SECONDS, FREE_CHECK_TOKENS
from worker.bench.stream import new_settings, side
from worker.local import stress_tally
from worker.local.kafka import local_kafka
from worker.local.percentile import percentile
from worker.local.stress import Stress, StressOptions
from worker.local.workers import WorkerProcess
from worker.planning.cost import Message
from worker.planning.simulation import Lane, Load, Passage, Worker, replay, simulate
from worker.planning.stream_time import measured
from worker.settings import Settings

TURN_SECONDS = 15.0
_WARM_RATE, _WARM_SECONDS = 50.0, 5.0
_CHECK_SECONDS: Final = {"llama_guard": COSTLY_CHECK_SECONDS, "prompt_guard": 0.0}

Turn = Sequence[stress_tally.Passage]


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, measured and simulated; each list has one p99 a turn. Latencies in milliseconds."""

    rate: float
    load_average: float  # of the machine, the mean over the turns
    stream_p50_ms: float
    stream_p99_ms: float
    device: DeviceCost  # as measured
    measured_per_second: float
    simulated_per_second: float
    measured_p99_ms: list[float]
    replayed_p99_ms: list[float]
    drawn_p99_ms: list[float]

    @property
    def throughput_ratio(self) -> float:
        """Simulated / measured."""
        return self.simulated_per_second / self.measured_per_second

    @property
    def replayed_ratio(self) -> float:
        """Replayed / measured, the medians of the turns."""
        return statistics.median(self.replayed_p99_ms) / statistics.median(self.measured_p99_ms)

    @property
    def drawn_ratio(self) -> float:
        """Drawn / measured, the medians of the turns."""
        return statistics.median(self.drawn_p99_ms) / statistics.median(self.measured_p99_ms)

    def __str__(self) -> str:
        turns = len(self.measured_p99_ms)
        return (
            f"{self.rate:g} events/s, {turns} turns of {TURN_SECONDS:g} s, load average {self.load_average:.1f}; "
            f"the stream alone: p50 {self.stream_p50_ms:.0f} ms, p99 {self.stream_p99_ms:.0f} ms\n"
            f"  a batch started in {self.device.batch['llama_guard'] * 1000:.1f} ms instead of "
            f"{COSTLY_BATCH_SECONDS * 1000:.0f}, and {self.device.handover * 1000:.1f} ms after the one before it\n"
            f"  throughput: {self.simulated_per_second:.0f} simulated, {self.measured_per_second:.0f} measured "
            f"({self.throughput_ratio:.2f})\n"
            f"  p99, median of the turns (lowest, highest): measured {_spread(self.measured_p99_ms)}; "
            f"simulated {_spread(self.replayed_p99_ms)}: {self.replayed_ratio:.2f}; "
            f"as `plan` draws it {_spread(self.drawn_p99_ms)}: {self.drawn_ratio:.2f}"
        )


def bench_plan(bootstrap: str | None, rates: Sequence[float], turns: int, say: Callable[[str], None]) -> list[Compared]:
    """Each rate through a real worker on a real Kafka and through the simulation, in so many turns of free and of
    costly guards. Raises KafkaUnavailable, WorkerDied."""
    with local_kafka(bootstrap, say=say) as kafka:
        return [asyncio.run(_measure(kafka.bootstrap_servers, rate, turns)) for rate in rates]


@dataclass(slots=True)
class _Side:
    """What was measured of one worker."""

    settings: Settings
    process: WorkerProcess
    turns: list[Turn] = field(default_factory=list)
    device: list[DeviceCost] = field(default_factory=list)  # in each turn

    async def warm(self) -> None:
        """Until it runs, and is warm."""
        await self._passages(_WARM_RATE, _WARM_SECONDS, 0)

    async def turn(self, rate: float, seed: int) -> None:
        before = self.process.metrics()
        self.turns.append(await self._passages(rate, TURN_SECONDS, seed))
        self.device.append(DeviceCost.between(before, self.process.metrics(), _CHECK_SECONDS))

    async def _passages(self, rate: float, seconds: float, seed: int) -> Turn:
        run = Stress(self.settings, StressOptions(rate, seconds, seed=seed, at_random=True))
        await run.run()
        self.process.check()
        return run.tally.passages


async def _measure(bootstrap: str, rate: float, turns: int) -> Compared:
    common = {"verdict_cache_bytes": "0"}  # every event is judged
    # No waiting for company without a device: that is the simulated batcher's.
    free_settings = {**await new_settings(bootstrap), **common, "batch_wait_ms": "0"}
    costly_settings = {**await new_settings(bootstrap), **common}
    loads = []
    with ExitStack() as opened:
        free, costly = (
            _Side(Settings.model_validate(settings), opened.enter_context(side(kind, settings)))
            for kind, settings in (("worker", free_settings), ("costly", costly_settings))
        )
        for each in (free, costly):
            await each.warm()
        for number in range(turns):
            for each in (free, costly):
                await each.turn(rate, number)
            loads.append(os.getloadavg()[0])
    return compared(rate, free.turns, costly.turns, DeviceCost.mean(costly.device), statistics.mean(loads))


def compared(
    rate: float, free: Sequence[Turn], costly: Sequence[Turn], device: DeviceCost, load_average: float
) -> Compared:
    """The simulation of the free turns on the costly device, beside the costly turns."""
    stream = [each.answered - each.sent for turn in free for each in turn]
    worker = costly_worker(stream, device)
    replayed = [replay(worker, [_passage(each) for each in turn]) for turn in free]
    drawn = [simulate(worker, Load(rate, _message, len(turn), seed)) for seed, turn in enumerate(costly)]
    spans = [max(each.answered for each in turn) - min(each.sent for each in turn) for turn in costly]
    return Compared(
        rate=rate,
        load_average=load_average,
        stream_p50_ms=statistics.median(stream) * 1000,
        stream_p99_ms=percentile(stream, 0.99) * 1000,
        device=device,
        measured_per_second=sum(map(len, costly)) / sum(spans),
        simulated_per_second=statistics.median(each.per_second for each in replayed),
        measured_p99_ms=[percentile([each.answered - each.sent for each in turn], 0.99) * 1000 for turn in costly],
        replayed_p99_ms=[each.p99 * 1000 for each in replayed],
        drawn_p99_ms=[each.p99 * 1000 for each in drawn],
    )


def costly_worker(stream: Sequence[float], device: DeviceCost) -> Worker:
    """A worker as `costly_guards` and the settings have it, whose stream and device take what was measured."""
    settings = Settings()
    return Worker(
        lanes=(
            Lane(_seconds(device, "llama_guard"), settings.llama_guard_batch_tokens, _tokens),
            Lane(_seconds(device, "prompt_guard"), settings.prompt_guard_batch_tokens, _tokens),
        ),
        batch_wait=settings.batch_wait_ms / 1000,
        stream=measured(stream),
        handover=device.handover,
    )


def _passage(seen: stress_tally.Passage) -> Passage:
    """With guards that cost nothing an event reaches them when it is decided."""
    return Passage(_message(), seen.sent, seen.decided, seen.answered - seen.decided)


def _spread(milliseconds: Sequence[float]) -> str:
    return f"{statistics.median(milliseconds):.0f} ms ({min(milliseconds):.0f}, {max(milliseconds):.0f})"


def _message(_rng: Random | None = None) -> Message:
    return Message(0)


def _tokens(_message: Message) -> int:
    return FREE_CHECK_TOKENS


def _seconds(device: DeviceCost, guard: str) -> Callable[[Sequence[Message]], float]:
    return lambda batch: device.batch[guard] + _CHECK_SECONDS[guard] * len(batch)
