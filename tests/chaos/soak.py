"""`python -m tests.chaos.soak --minutes 60` (make soak): one worker at a steady rate for a long time. Does its memory
grow, does it fall behind, does it lose anything? Exit code 1 where a rule was broken."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import typer

from tests.stream.rig import Rig, metric, new_rig
from worker.local.jvm_broker import JvmBroker
from worker.local.stress import Stress, StressOptions
from worker.local.stress_tally import StressReport, Thresholds
from worker.local.workers import WorkerProcess
from worker.settings import Settings

SAMPLE_SECONDS = 5.0
WARM_UP_SHARE = 0.1  # of the time: until caches are full and the allocator has what it needs
MOST_SLOPE = 10.0  # MB an hour
MOST_LAG_SECONDS = 5.0  # what may be under way at the end, in seconds of the rate

# The verdict cache is filled within the warm-up, so that its growth is not taken for a leak. Guards of 5 ms a batch.
WORKER = {"verdict_cache_bytes": 4 << 20, "FAKE_DELAY": "0.005"}
# An hour's records would fill a small disk.
BROKER = {"log.retention.bytes": str(64 << 20), "log.segment.bytes": str(16 << 20)}


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at one moment of the soak."""

    seconds: float  # since it began
    resident: int  # bytes
    in_flight: float  # events


@dataclass(slots=True)
class Soak:
    """What came of it."""

    rate: float
    samples: list[Sample] = field(default_factory=list)
    stress: StressReport | None = None
    lag: int = 0  # records not committed, at the end

    @property
    def settled(self) -> Sequence[Sample]:
        """The samples after the warm-up."""
        return [each for each in self.samples if each.seconds >= WARM_UP_SHARE * self.samples[-1].seconds]

    @property
    def slope(self) -> float:
        """Growth of resident memory after the warm-up, by least squares, in MB an hour."""
        hours = [each.seconds / 3600 for each in self.settled]
        megabytes = [each.resident / 1e6 for each in self.settled]
        middle, level = fmean(hours), fmean(megabytes)
        spread = sum((hour - middle) ** 2 for hour in hours)
        return sum((hour - middle) * (size - level) for hour, size in zip(hours, megabytes, strict=True)) / spread

    @property
    def _tenths(self) -> str:
        """Memory, and the most events in flight: a stall leaves memory larger than it found it, a leak has no steps."""
        length = max(1, len(self.samples) // 10)
        parts = [self.samples[first : first + length] for first in range(0, len(self.samples), length)]
        return ", ".join(
            f"{median(each.resident for each in part) / 1e6:.0f} MB ({max(each.in_flight for each in part):.0f})"
            for part in parts
        )

    @property
    def violations(self) -> list[str]:
        """A sentence for each rule that was broken."""
        told = [] if self.stress is None else self.stress.failures(Thresholds(max_lost=0, max_duplicated=0))
        if self.slope > MOST_SLOPE:
            told.append(f"memory grew by {self.slope:.1f} MB an hour, more than {MOST_SLOPE:g}")
        third = len(self.settled) // 3
        early, late = (
            median(each.in_flight for each in part) for part in (self.settled[:third], self.settled[-third:])
        )
        if late > 2 * early + self.rate:
            told.append(f"{late:.0f} events in flight at the end, {early:.0f} at first: it falls behind")
        if self.lag > MOST_LAG_SECONDS * self.rate:
            told.append(f"{self.lag} records not committed at the end")
        return told

    def __str__(self) -> str:
        sizes, stress = [each.resident / 1e6 for each in self.settled], self.stress
        lines = [
            f"{self.samples[-1].seconds / 60:.0f} minutes, resident memory {sizes[0]:.0f} MB after the warm-up, "
            f"{min(sizes):.0f} to {max(sizes):.0f}, slope {self.slope:+.2f} MB an hour; lag at the end {self.lag}",
            f"by tenths of the time: {self._tenths}",
        ]
        if stress is not None:
            lines.append(
                f"{stress.sent:,} events sent ({stress.sent_per_second:.0f} a second), {stress.lost} lost, "
                f"{stress.duplicated} twice, p50 {stress.p50_ms} ms, p99 {stress.p99_ms} ms, max {stress.max_ms} ms"
            )
        return "\n".join(lines)


async def soak(rig: Rig, worker: WorkerProcess, soaked: Soak, minutes: float) -> None:
    """Sends at the rate and looks at the worker now and then."""
    await rig.ready(worker)
    settings = Settings(bootstrap_servers=rig.bootstrap, input_topic=rig.input_topic, group=rig.group, **rig.outputs)
    run = Stress(settings, StressOptions(rate=soaked.rate, seconds=60 * minutes))
    watching = asyncio.create_task(_watch(worker, soaked))
    try:
        soaked.stress = await run.run()
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    await asyncio.sleep(3)  # the last commit
    soaked.lag = sum((await rig.lag()).values())


async def _watch(worker: WorkerProcess, soaked: Soak) -> None:
    began = time.monotonic()
    while True:
        in_flight = await asyncio.to_thread(metric, worker, "moderation_in_flight_events")
        soaked.samples.append(Sample(time.monotonic() - began, resident_bytes(worker.pid), in_flight or 0.0))
        await asyncio.sleep(SAMPLE_SECONDS)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (Linux)."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def main(
    minutes: Annotated[float, typer.Option(min=0.5)] = 60.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Events a second.")] = 300.0,
) -> None:
    """One worker with fake guards on a Kafka of its own."""
    folder = Path(tempfile.mkdtemp(prefix="moderation-soak-"))
    soaked = Soak(rate)
    with JvmBroker(properties=BROKER) as broker:
        rig = new_rig(broker, folder)
        with rig.worker("worker", **WORKER) as worker:
            typer.echo(f"{minutes:g} minutes at {rate:g} events a second; the worker's log is in {folder}", err=True)
            asyncio.run(soak(rig, worker, soaked, minutes))
    typer.echo(soaked)
    for violation in soaked.violations:
        typer.echo(f"broken: {violation}")
    if soaked.violations:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
