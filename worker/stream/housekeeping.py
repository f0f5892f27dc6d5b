"""What a process that runs for months does for itself from time to time."""

import asyncio
import gc

from worker.guards.allocator import give_back_free_memory

_SECONDS = 60.0


async def keep_house(seconds: float = _SECONDS) -> None:
    """Every so many seconds collects the garbage among young objects, of which the worker's thresholds let much come
    together, and gives free memory back to the kernel, where the C library can."""
    able = True
    while True:
        gc.collect(1)  # here: what a collection finalises is the event loop's
        able = able and await asyncio.to_thread(give_back_free_memory)
        await asyncio.sleep(seconds)
