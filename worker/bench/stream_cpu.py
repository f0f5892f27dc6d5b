"""The CPU time that an event takes in a worker whose guards cost nothing. Linux: it reads /proc."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from worker.bench.stream import LOOK_SECONDS, OUTPUTS, MeasurementFailed, counter, fill, new_settings, side
from worker.local.kafka import local_kafka


def worker_cpu(bootstrap: str | None, events: int, say: Callable[[str], None]) -> float:
    """Seconds of CPU time an event, from the first outcome on: the start does not count. On the Kafka at `bootstrap`
    or one that is started. Raises KafkaUnavailable, WorkerDied, MeasurementFailed."""
    with local_kafka(bootstrap, say=say) as kafka:
        return asyncio.run(_measured(kafka.bootstrap_servers, events))


async def _measured(bootstrap: str, events: int) -> float:
    settings = await new_settings(bootstrap)
    await fill(bootstrap, settings["input_topic"], events)
    outputs = [settings[name] for name in OUTPUTS]
    with side("worker", settings) as process:
        async with counter(bootstrap, outputs) as so_far:

            async def until(count: int) -> int:
                while (done := await so_far()) < count:
                    process.check()
                    await asyncio.sleep(LOOK_SECONDS)
                return done

            first = await until(1)
            began = _cpu_seconds(process.pid)
            done = await until(events)
        if done == first:
            raise MeasurementFailed(f"{events} events were through before the first look: measure more of them")
        return (_cpu_seconds(process.pid) - began) / (done - first)


def _cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
