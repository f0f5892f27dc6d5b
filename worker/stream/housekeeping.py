"""What a process that runs for months does for itself from time to time."""

import asyncio
import gc

from worker.guards.allocator import give_back_free_memory

_SECONDS = 60.0


async def keep_house(seconds: float = _SECONDS) -> None:
    """Every so many seconds collects the garbage, of which the worker's thresholds let much come together, and
    gives free memory back to the kernel, where the C library can."""
    able = True
    while True:
        gc.collect()  # here: what a collection finalises is the event loop's. 1 ms with a thousand events in flight
        able = able and await asyncio.to_thread(give_back_free_memory)
        await asyncio.sleep(seconds)
