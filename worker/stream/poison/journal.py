"""Journal: a small file that names what is in flight, so that a killed worker's successor knows what killed it.

A table of entries of 32 bytes. It is written with plain writes and no fsync: what a process has written outlives its
kill in the kernel's page cache, and only that is needed. A machine that goes down may take the last names with it.
A write that a kill cuts short ends between two pages, so every entry in the file is whole: the old one or the new one.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from worker.observability import metrics
from worker.stream.poison.journal_file import JournalFile, claim, contents
from worker.stream.poison.suspects import Name, Trace, kills_after

log = structlog.get_logger(__name__)

_VERSION = 1
_HEADER: Final = struct.pack("<16sI44x", b"moderation-flow\n", _VERSION)
_ENTRY: Final = struct.Struct("<qqiBBxxI4x")  # offset, timestamp, partition, kills, in flight, check
_SIZE: Final = _ENTRY.size  # 32: divides a page, and so does the header
_EMPTY: Final = bytes(_SIZE)
_SALT: Final = 0x5A17F11E  # so that zeros do not match
_UNSUSPECTED: Final = _SALT ^ 1 << 16  # in flight, without a kill
_CHECK: Final = 0xFFFFFFFF
_MOST_BYTES = 64 << 20  # of a file that can be a journal

NO_SLOT: Final = -1


class Corrupt(Exception):
    """Not a journal of this version; the message says why."""


class Journal:
    """Names of records in slots. What it cannot write it does without: it says so once in the log, and by the metric
    `moderation_journal_failing`."""

    def __init__(self, file: JournalFile | None, capacity: int) -> None:
        """A journal of `capacity` empty slots in place of what the file held; without a file it writes nothing."""
        if file is not None:  # never less than there was: names behind the end would come to life again
            capacity = max(capacity, (os.fstat(file.descriptor).st_size - len(_HEADER)) // _SIZE)
        self._descriptor = None if file is None else file.descriptor
        self._path = None if file is None else file.path
        self._table = bytearray(_HEADER) + bytearray(capacity * _SIZE)
        self._from, self._to = 0, 0  # what the file does not have yet
        self._free: list[int] = []
        self.clear()
        self._ok = file is not None
        metrics.JOURNAL_FAILING.set(not self._ok)

    def add_all(self, names: Sequence[tuple[int, int, int]]) -> list[int]:
        """Puts names that are in flight, and no suspects, into free slots; `NO_SLOT` where there is none.

        As `add` does it one by one. Written out, because it runs for every event.
        """
        left = max(0, len(self._free) - len(names))
        slots = self._free[left:]
        del self._free[left:]
        table, pack, first = self._table, _ENTRY.pack_into, len(_HEADER)
        for slot, (partition, offset, timestamp) in zip(slots, names, strict=False):
            check = (offset ^ timestamp ^ (offset >> 32) ^ (timestamp >> 32) ^ partition ^ _UNSUSPECTED) & _CHECK
            pack(table, first + slot * _SIZE, offset, timestamp, partition, 0, True, check)
        self._changed_all(slots)
        return slots + [NO_SLOT] * (len(names) - len(slots))

    def remove_all(self, slots: Iterable[int]) -> None:
        """Frees slots."""
        freed = [slot for slot in slots if slot != NO_SLOT]
        table, first = self._table, len(_HEADER)
        for slot in freed:
            start = first + slot * _SIZE
            table[start : start + _SIZE] = _EMPTY
        self._free += freed
        self._changed_all(freed)

    def add(self, name: Name, kills: int, in_flight: bool) -> int:
        """Puts a name into a free slot; `NO_SLOT` where there is none."""
        if not self._free:
            return NO_SLOT
        slot = self._free.pop()
        self.change(slot, name, kills, in_flight)
        return slot

    def change(self, slot: int, name: Name, kills: int, in_flight: bool) -> None:
        """Says something else of the name in a slot."""
        if slot == NO_SLOT:
            return
        start = len(_HEADER) + slot * _SIZE
        partition, offset, timestamp = name
        check = _check(partition, offset, timestamp, kills, in_flight)
        _ENTRY.pack_into(self._table, start, offset, timestamp, partition, kills, in_flight, check)
        self._changed(start)

    def remove(self, slot: int) -> None:
        """Frees a slot."""
        self.remove_all((slot,))

    def write(self) -> None:
        """Brings the file up to date, with one write. Raises nothing: what fails is tried again by the next one."""
        if self._descriptor is None or self._from >= self._to:
            return
        try:
            part = memoryview(self._table)[self._from : self._to]
            if os.pwrite(self._descriptor, part, self._from) < len(part):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._is_ok(False, str(error))
            return
        self._from, self._to = len(self._table), 0
        self._is_ok(True)

    def clear(self) -> None:
        """Frees all slots."""
        self._table[len(_HEADER) :] = bytes(len(self._table) - len(_HEADER))
        self._free = list(range((len(self._table) - len(_HEADER)) // _SIZE - 1, -1, -1))
        self._from, self._to = 0, len(self._table)

    def close(self) -> None:
        """Gives the file up as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def discard(self) -> None:
        """Removes the file and gives it up: there is nothing to remember."""
        if self._descriptor is not None and self._path is not None:
            with contextlib.suppress(OSError):  # then the next worker finds what it says
                self._path.unlink()
            self.close()

    def _changed_all(self, slots: Sequence[int]) -> None:
        if slots:
            self._changed(len(_HEADER) + min(slots) * _SIZE)
            self._changed(len(_HEADER) + max(slots) * _SIZE)

    def _changed(self, start: int) -> None:
        if start < self._from:
            self._from = start
        if start >= self._to:
            self._to = start + _SIZE

    def _is_ok(self, ok: bool, cause: str = "") -> None:
        if ok == self._ok:
            return
        self._ok = ok
        metrics.JOURNAL_FAILING.set(not ok)
        if ok:
            log.info("the journal is written again", path=str(self._path))
        else:
            log.error("the journal cannot be written; judging goes on without", path=str(self._path), cause=cause)


def told_by_others(directory: Path, group: str, topic: str) -> dict[Name, int]:
    """The kills of records that other workers' journals in the directory, dead or alive, tell of: only where a record
    was alone at one of them. A record that wanders from worker to worker is so condemned by all of them together.
    """
    kills: dict[Name, int] = {}
    for content, alive in contents(directory, group, topic, _MOST_BYTES):
        try:
            traces = traces_of(content)
        except Corrupt:  # its owner's successor says so
            continue
        told = {trace.name: trace.kills for trace in traces} if alive else kills_after(traces)
        for name, count in told.items():
            if count > 1:
                kills[name] = max(count, kills.get(name, 0))
    return kills


def open_journal(directory: Path, group: str, topic: str, capacity: int) -> tuple[Journal, list[Trace]]:
    """A worker's journal, and what its predecessor's said; still to be written.

    A corrupt file is set aside. Where there can be no file the journal has none.
    """
    capacity = min(capacity, (_MOST_BYTES - len(_HEADER)) // _SIZE)
    try:
        while True:
            file = claim(directory, group, topic)
            try:
                found = _read(file)
                return Journal(file, capacity), found
            except Corrupt as cause:
                aside = file.set_aside()
                log.error("the journal is corrupt and was set aside", path=str(aside), cause=str(cause))
    except OSError as error:
        log.error(
            "no journal: a record that kills the worker will not be isolated", path=str(directory), cause=str(error)
        )
        return Journal(None, capacity), []


def _check(partition: int, offset: int, timestamp: int, kills: int, in_flight: bool) -> int:
    """Tells an entry from other bytes. A checksum such as CRC-32 would cost as much as all the rest of an entry."""
    mixed = offset ^ timestamp ^ (offset >> 32) ^ (timestamp >> 32) ^ partition ^ kills << 24 ^ in_flight << 16
    return (mixed ^ _SALT) & _CHECK


def _read(file: JournalFile) -> list[Trace]:
    """What the file says; nothing where it is new. Raises Corrupt and OSError."""
    size = os.fstat(file.descriptor).st_size
    if size == 0:
        return []
    if size > _MOST_BYTES:
        raise Corrupt(f"it has {size} bytes")
    return traces_of(os.pread(file.descriptor, size, 0))


def traces_of(content: bytes) -> list[Trace]:
    """The names in a journal's content. Raises Corrupt."""
    if content[: len(_HEADER)] != _HEADER:
        raise Corrupt("it does not begin as a journal of this version does")
    if (len(content) - len(_HEADER)) % _SIZE:
        raise Corrupt("it ends within an entry")
    entries = (content[start : start + _SIZE] for start in range(len(_HEADER), len(content), _SIZE))
    return [_trace(entry) for entry in entries if entry != _EMPTY]


def _trace(entry: bytes) -> Trace:
    offset, timestamp, partition, kills, in_flight, check = _ENTRY.unpack(entry)
    if check != _check(partition, offset, timestamp, kills, in_flight):
        raise Corrupt("an entry does not match its check")
    return Trace(Name(partition, offset, timestamp), kills, bool(in_flight))
