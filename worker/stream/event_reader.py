"""Reading chat events without holding up the event loop: the group's heartbeats and the probes go on meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from worker.contract.chat_event import read_chat_event
from worker.stream.kafka.raw_records import RawRecord
from worker.stream.work import Work

# Bytes from which a thread reads it. A value of tens of thousands of tiny messages takes 0.16 s for each megabyte, and
# all records of a fetch begin in one step of the loop.
_LARGE: Final = 16 * 1024


class EventReader:
    """Reads small values at once, and large ones on a thread, one after the other. Belongs to one event loop."""

    def __init__(self, then: Callable[[Sequence[Work]], object]) -> None:
        """`then` is told of works that have their event or an error: Unjudgeable where there can be none."""
        self._then = then
        self._one_at_a_time = asyncio.Lock()  # more threads would take Python's lock from the loop in turns
        self._reading: set[asyncio.Task[None]] = set()

    def read(self, works: Sequence[Work]) -> None:
        """Reads the works' records; those that have an error already are told as they are."""
        small = []
        for work in works:
            value = work.record.value
            if work.error is not None:  # a record that kills whoever touches it, say
                small.append(work)
            elif value is None or len(value) < _LARGE:
                _read(work)
                small.append(work)
            else:
                self._reading.add(task := asyncio.create_task(self._read_large(work)))
                task.add_done_callback(self._reading.discard)
        if small:
            self._then(small)

    async def _read_large(self, work: Work) -> None:
        async with self._one_at_a_time:
            if work.over:
                return  # given back meanwhile
            try:
                await asyncio.to_thread(_read, work)
            except Exception as cause:  # no thread can be started: else nobody would ever hear of the record
                work.error = cause
        if not work.over:
            self._then((work,))


def _read(work: Work) -> None:
    try:
        if isinstance(work.record, RawRecord):
            work.record.check()
        work.event = read_chat_event(work.record.value)
    except BaseException as cause:  # a panic in a library written in Rust is no Exception
        work.error = cause
