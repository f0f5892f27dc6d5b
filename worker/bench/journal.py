"""What the journal of what is in flight costs: microseconds an event, from its arrival to its end.

`python -m worker.bench.journal [directory]`. In the same run: what two plain writes for each event cost, which is the
least that a journal without batches does.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from worker.contract.record import PlainRecord
from worker.settings import Settings
from worker.stream.poison.isolation import Isolation
from worker.stream.progress import PartitionProgress
from worker.stream.work import Work

EVENTS = 50_000
ROUNDS = 7
SHAPES = ((1, 1), (1, 1024), (16, 1024), (256, 1024), (1024, 16384))  # events a fetch, events in flight


def isolated(directory: Path, fetch: int, in_flight: int) -> float:
    """Seconds an event, in fetches of `fetch` with up to `in_flight` on their way."""
    isolation = Isolation.of(Settings(journal_dir=directory, max_in_flight_events=in_flight))
    owner = PartitionProgress("chat.events/0")
    records = (PlainRecord("chat.events", 0, offset, 1_700_000_000_000) for offset in range(EVENTS))
    works = [Work(record, 0.0, lambda _works: None, owner) for record in records]
    inside: list[Work] = []
    began = time.perf_counter()
    for start in range(0, EVENTS, fetch):
        inside += isolation.take(works[start : start + fetch])
        if len(inside) > in_flight - fetch:
            isolation.leave(inside[:fetch], answered=True)
            del inside[:fetch]
    seconds = (time.perf_counter() - began) / EVENTS
    isolation.end()
    return seconds


def two_writes(directory: Path) -> float:
    """Seconds an event, two writes of 16 bytes each."""
    descriptor = os.open(directory / "two-writes", os.O_WRONLY | os.O_CREAT, 0o600)
    began = time.perf_counter()
    for number in range(EVENTS):
        os.pwrite(descriptor, bytes(16), number % 1024 * 16)
        os.pwrite(descriptor, bytes(16), number % 1024 * 16)
    seconds = (time.perf_counter() - began) / EVENTS
    os.close(descriptor)
    return seconds


def bench_journal(directory: Path) -> dict[str, float]:
    """Microseconds an event, medians, by what was measured. The journal is kept in this directory."""
    ways = {f"fetches of {each[0]}, {each[1]} in flight": partial(isolated, directory, *each) for each in SHAPES}
    ways["two writes an event"] = partial(two_writes, directory)
    found: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(ROUNDS):
        for what, way in ways.items():
            found[what].append(way())
    return {what: round(statistics.median(seconds) * 1e6, 2) for what, seconds in found.items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        sys.stdout.write(json.dumps(bench_journal(where), indent=2) + "\n")
