"""What the workers' logs say: which partitions each had, what killed it, and the errors that nothing explains. Pure but
for the reading of a file."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.chaos.ledger import Kill

_ERRORS = frozenset({"error", "critical"})
# The injected ones; which verdicts they lead to is the ledger's to check.
_OF_CHECKS = frozenset({"check_too_large", "check_failed"})
_SUM = re.compile(r"\d+ more like this: (.*)", re.DOTALL)
POISON_LINE = "the fake guard kills the worker: "  # and the second word of the text


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """A line of level error or worse, or one that is no log line at all."""

    worker: str
    at: float | None  # seconds since the epoch; None: it does not say
    logger: str
    event: str
    place: tuple[int, int] | None = None  # partition and offset that it names
    held: bool = False  # a sum of such lines that were held back up to now


@dataclass(slots=True)
class WorkerLog:
    """One worker's log."""

    worker: str
    lines: int = 0  # of the worker itself
    assigned: frozenset[int] = frozenset()  # the partitions that it had last
    assigned_at: float | None = None  # seconds since the epoch
    poison: str | None = None  # the record that killed it, as the fake guard says
    halved: int = 0  # batches that the guard could not take whole
    errors: list[ErrorLine] = field(default_factory=list)


def read_log(path: Path) -> WorkerLog:
    """The log of the worker that is named like its file."""
    return parse(path.stem, path.read_text(errors="replace").splitlines())


def parse(worker: str, lines: Iterable[str]) -> WorkerLog:
    """The log in these lines."""
    log = WorkerLog(worker)
    for line in lines:
        if line.startswith(POISON_LINE):
            log.poison = line.removeprefix(POISON_LINE)
            continue
        try:
            said = json.loads(line)
        except ValueError:
            if line.strip():
                log.errors.append(ErrorLine(worker, None, "", line))
            continue
        at = datetime.fromisoformat(said["timestamp"]).timestamp()
        if said["event"] == "partitions assigned":
            log.assigned, log.assigned_at = frozenset(said["partitions"]), at
        log.lines += 1
        log.halved += said["event"] == "batch_halved"
        if said["level"] in _ERRORS:
            place = (said["partition"], said["offset"]) if "offset" in said else None
            sum_of = _SUM.fullmatch(said["event"])
            event = sum_of[1] if sum_of else said["event"]
            log.errors.append(ErrorLine(worker, at, said["logger"], event, place, held=sum_of is not None))
    return log


@dataclass(frozen=True, slots=True)
class Excuses:
    """What was done to the workers, as far as it may make them log errors."""

    kills: Sequence[Kill]  # of workers
    outages: Sequence[Kill]  # of the broker
    poisons: Collection[tuple[int, int]]  # partition and offset of the records that kill

    def explains(self, line: ErrorLine) -> bool:
        """Whether something that was done explains the line."""
        if line.event == "killed_the_worker":
            return line.place in self.poisons
        if line.event in _OF_CHECKS:
            return True
        if line.event == "the worker was killed while it judged one record":
            return any(kill.since <= (line.at or 0) for kill in self.kills)
        at = line.at
        if at is None or not _of_kafka(line):
            return False
        return any(out.since <= at and (line.held or at <= out.until) for out in self.outages)


def _of_kafka(line: ErrorLine) -> bool:
    """Whether it is about the broker: aiokafka's own, also a task of its that nobody waits for any more."""
    if line.logger == "asyncio":
        return "aiokafka" in line.event
    return line.logger.startswith("aiokafka")


def unexplained(logs: Iterable[WorkerLog], excuses: Excuses) -> Iterator[ErrorLine]:
    """The errors that nothing explains."""
    return (line for log in logs for line in log.errors if not excuses.explains(line))
