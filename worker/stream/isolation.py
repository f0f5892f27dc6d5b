"""Isolation: a record that kills the process is named in the journal, judged alone after the restart, and condemned on
its third kill. The rules are those of suspects.py."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import structlog
from aiokafka import TopicPartition

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Record
from worker.observability import metrics
from worker.settings import Settings
from worker.stream.journal import NO_SLOT, Journal, open_journal, told_by_others
from worker.stream.journal_file import default_directory
from worker.stream.suspects import Case, Name, Suspects, Trace, kills_after, worst

log = structlog.get_logger(__name__)

# Of several workers, one is often killed again before its suspects come back to it: it must remember them so long.
SUSPECTS_PER_EVENT = 4  # most suspects, for each event that may be in flight
_TELL_SECONDS = 10.0  # between two lines about how many suspects are left


class Isolation:
    """Names records in the journal while they are judged, and lets suspects in alone. Belongs to one event loop."""

    def __init__(
        self, journal: Journal, found: list[Trace], told: Mapping[Name, int], topic: str, most_suspects: int
    ) -> None:
        """`found` is what the journal of the process before said, `told` are the kills that other workers' journals
        tell of. Suspects of partitions that never come back, and more than `most_suspects` of them, are forgotten."""
        self._journal, self._topic = journal, topic
        kills = kills_after(found)
        kills |= {name: max(count, kills.get(name, 0)) for name, count in told.items()}
        in_flight = {trace.name for trace in found if trace.in_flight}
        self._suspects = Suspects(worst(kills, most_suspects, in_flight))
        self._after_a_kill = bool(in_flight)
        self._slots = {name: journal.add(name, kills, False) for name, kills in self._suspects.kills.items()}
        self._tell_again = time.monotonic() + _TELL_SECONDS
        self._begin: dict[Case, Callable[[], None]] = {}  # of those that wait
        journal.write()
        metrics.SUSPECTS.set(len(self._slots))
        self._tell([trace.name for trace in found if trace.in_flight])

    @classmethod
    def of(cls, settings: Settings) -> "Isolation":
        """As the settings have it. Whatever is wrong with the journal is logged; nothing is raised."""
        most, topic = settings.max_in_flight_events, settings.input_topic
        directory = settings.journal_dir or default_directory()
        told = told_by_others(directory, settings.group, topic)
        journal, found = open_journal(directory, settings.group, topic, capacity=(SUSPECTS_PER_EVENT + 1) * most)
        return cls(journal, found, told, topic, SUSPECTS_PER_EVENT * most)

    def arrive(self, record: Record) -> Case:
        """A record was fetched. Call `admit` after the last one of a fetch, and `leave` in the end."""
        return self._suspects.arrive(Name(record.partition, record.offset, record.timestamp))

    def admit(self) -> None:
        """Lets in whoever may be judged now: named in the journal, all of them in one write, before they begin."""
        admitted = self._suspects.admit()
        for case in admitted:
            if case.kills:
                metrics.JUDGED_ALONE.inc()
                self._mark(case, in_flight=True)
            else:
                case.slot = self._journal.add(case.name, 0, True)
            if self._begin and (begin := self._begin.pop(case, None)):
                begin()
        self._journal.write()

    async def admitted(self, case: Case) -> None:
        """Returns when the record may be judged. Raises Unjudgeable where it killed the worker too often."""
        if case.condemned:
            log.error("killed_the_worker", **self._place(case.name), kills=case.kills)
            message = f"the worker was killed {case.kills} times while it judged this record"
            raise Unjudgeable("killed_the_worker", message, Stage.JUDGE)
        if case.inside:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begin[case] = partial(_wake, waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            self.leave(case, answered=False)  # at once: it must not be let in on its way out
            raise

    def leave(self, case: Case, *, answered: bool) -> None:
        """A record is finished (`answered`) or was given back. May be called twice."""
        if case.gone:
            return
        self._suspects.leave(case, answered=answered)
        if not case.inside:
            self._begin.pop(case, None)
            return
        if not case.kills:
            self._journal.remove(case.slot)
        elif answered:
            self._forget(case.name)
        else:
            self._mark(case, in_flight=False)
        if self._suspects.waiting or not self._suspects.inside:
            self.admit()  # and else the next fetch writes what has changed

    @property
    def began_after_a_kill(self) -> bool:
        """Whether the process before this one was killed in the midst of its work."""
        return self._after_a_kill

    @contextlib.contextmanager
    def beside(self, record: Record) -> Iterator[None]:
        """Names a record with which something is done beside its judgement. A kill meanwhile makes it a suspect among
        those in flight: none of them is then taken for the only one."""
        slot = self._journal.add(Name(record.partition, record.offset, record.timestamp), 0, True)
        self._journal.write()
        try:
            yield
        finally:
            self._journal.remove(slot)
            self._journal.write()

    def committed(self, ends: Mapping[TopicPartition, int]) -> None:
        """Offsets were committed: suspects before them are somebody's answered ones, or will never come again."""
        past = [name for partition, end in ends.items() for name in self._suspects.passed(partition.partition, end)]
        for name in past:
            self._forget(name)
        if past:
            self._journal.write()

    def end(self) -> None:
        """The worker ends for another reason than a record: nothing counts as a kill any more. Suspects stay such."""
        self._journal.clear()
        for name, kills in self._suspects.kills.items():
            self._journal.add(name, kills, False)
        self._journal.write()
        if not self._suspects.kills:
            self._journal.discard()
        self._journal.close()

    def keep(self) -> None:
        """A record ends the process, though not at once: that is a kill, and the journal stays as it is now."""
        self._journal.write()
        self._journal.close()

    def _mark(self, case: Case, *, in_flight: bool) -> None:
        self._journal.change(self._slots.get(case.name, NO_SLOT), case.name, case.kills, in_flight)

    def _forget(self, name: Name) -> None:
        self._journal.remove(self._slots.pop(name, NO_SLOT))
        metrics.SUSPECTS.set(len(self._slots))
        if (now := time.monotonic()) >= self._tell_again or not self._slots:
            self._tell_again = now + _TELL_SECONDS
            log.info("what was in flight when the worker was killed", records_left=len(self._slots))

    def _place(self, name: Name) -> dict[str, object]:
        return {"topic": self._topic, "partition": name.partition, "offset": name.offset}

    def _tell(self, in_flight: list[Name]) -> None:
        if len(in_flight) == 1:
            (name,) = in_flight
            kills = self._suspects.kills.get(name)
            log.error("the worker was killed while it judged one record", **self._place(name), kills=kills)
        elif in_flight:
            log.warning("the worker was killed; what was in flight is judged one by one", records=len(in_flight))


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
