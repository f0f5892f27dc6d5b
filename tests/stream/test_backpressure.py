"""Backpressure by bytes: however much waits in Kafka, and however small it is there, memory stays bounded."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.stream.rig import LARGEST, Rig, chat_event, metric
from worker.local.workers import WorkerProcess

pytestmark = pytest.mark.chaos

GiB = 1 << 30
LARGE, LETTERS = 2000, 1_000_000


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
async def test_memory_stays_bounded_while_large_events_wait(rig: Rig, compression: str | None) -> None:
    """Small events come first: from them the worker must not conclude that it may take a thousand more at once."""
    gate = rig.folder / "held"
    gate.touch()
    with rig.worker("worker", FAKE_WAIT_WHILE=gate, FAKE_DELAY=0.005, verdict_cache_bytes=0) as worker:
        await rig.ready(worker)
        idle = memory(worker, "VmRSS")
        ids = await rig.send((None, chat_event(f"WAIT-IN-PREPARATION {number}")) for number in range(2000))
        async with AIOKafkaProducer(
            bootstrap_servers=rig.bootstrap, max_request_size=LARGEST, compression_type=compression, linger_ms=20
        ) as producer:
            for first in range(0, LARGE, 100):
                ids += await rig.send_with(producer, events(first, 100))
        gate.unlink()
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids, seconds=400)
        await rig.no_lag()
        peak = memory(worker, "VmHWM")
        assert await asyncio.to_thread(metric, worker, "moderation_rebalances_total") == 0
    assert set(outcomes.ids.values()) == {1}
    assert outcomes.counts == {"safe": len(ids)}
    assert peak < idle + GiB, f"{peak >> 20} MiB, and idle {idle >> 20}"


def events(first: int, count: int) -> Iterator[tuple[None, bytes]]:
    """Large ones, all different, that compress to next to nothing."""
    for number in range(first, first + count):
        rng = random.Random(number)
        words = " ".join(rng.choice(("cake", "tea", "rain", "bread")) for _ in range(50)) + f" {number} "
        yield None, chat_event((words * (LETTERS // len(words) + 1))[:LETTERS])


def memory(worker: WorkerProcess, field: str) -> int:
    """Bytes; `VmRSS` is resident now, `VmHWM` the most ever."""
    for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
