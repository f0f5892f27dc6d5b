"""What a process that runs for months does for itself from time to time."""

import asyncio

from worker.guards.allocator import give_back_free_memory

_SECONDS = 60.0


async def keep_house(seconds: float = _SECONDS) -> None:
    """Gives free memory back to the kernel every so many seconds, where the C library can."""
    able = True
    while True:
        able = able and await asyncio.to_thread(give_back_free_memory)
        await asyncio.sleep(seconds)
