"""Reading chat events without holding up the event loop: the group's heartbeats and the probes go on meanwhile."""

import asyncio
from typing import Final

from worker.contract.chat_event import ChatEvent, read_chat_event

# Bytes from which a thread reads it. A value of tens of thousands of tiny messages takes 0.16 s for each megabyte, and
# all records of a fetch begin in one step of the loop.
_LARGE: Final = 16 * 1024


class EventReader:
    """Reads small values at once, and large ones on a thread, one after the other."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()  # more threads would take Python's lock from the loop in turns

    async def read(self, value: bytes | None) -> ChatEvent:
        """The chat event in a record's value. Raises Unjudgeable, as `read_chat_event` does."""
        if value is None or len(value) < _LARGE:
            return read_chat_event(value)
        async with self._one_at_a_time:
            return await asyncio.to_thread(read_chat_event, value)
