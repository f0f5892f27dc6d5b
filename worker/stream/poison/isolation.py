"""Isolation: a record that kills the process is named in the journal, judged alone after the restart, and condemned on
its third kill. The rules are those of suspects.py."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import structlog
from aiokafka import TopicPartition

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Record
from worker.observability import metrics
from worker.settings import Settings
from worker.stream.poison.journal import NO_SLOT, Journal, open_journal, told_by_others
from worker.stream.poison.journal_file import default_directory
from worker.stream.poison.suspects import Case, Name, Suspects, Trace, kills_after, worst
from worker.stream.work import Work

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
        self._waiting: dict[Case, Work] = {}
        self._unsuspected = 0  # works that are judged while nobody is suspected
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

    def take(self, works: Sequence[Work]) -> Sequence[Work]:
        """Records were fetched. Those that may begin now are named in the journal, all of them in one write, and
        returned; the others are handed out by `leave`, which is to be called of each in the end. A record that killed
        the worker too often is returned with its error."""
        if self._suspects.none:
            places = [(work.record.partition, work.record.offset, work.record.timestamp) for work in works]
            for work, slot in zip(works, self._journal.add_all(places), strict=True):
                work.slot = slot
            self._unsuspected += len(works)
            self._journal.write()
            return works
        condemned = []
        for work in works:
            work.case = case = self._suspects.arrive(_name_of(work.record))
            if case.condemned:
                work.error = self._condemn(case)
                condemned.append(work)
            else:
                self._waiting[case] = work
        return condemned + self._admit()

    def leave(self, works: Sequence[Work], *, answered: bool) -> Sequence[Work]:
        """Records are finished (`answered`) or were given back; say it once. Those that may begin now."""
        unsuspected = [work.slot for work in works if work.case is None]
        self._journal.remove_all(unsuspected)
        self._unsuspected -= len(unsuspected)
        if len(unsuspected) < len(works):
            for work in works:
                if work.case is not None:
                    self._leave(work.case, answered=answered)
        if self._suspects.waiting or not (self._suspects.inside or self._unsuspected):
            return self._admit()
        return ()  # the next fetch writes what has changed

    @property
    def began_after_a_kill(self) -> bool:
        """Whether the process before this one was killed in the midst of its work."""
        return self._after_a_kill

    @contextlib.contextmanager
    def beside(self, record: Record) -> Iterator[None]:
        """Names a record with which something is done beside its judgement. A kill meanwhile makes it a suspect among
        those in flight: none of them is then taken for the only one."""
        slot = self._journal.add(_name_of(record), 0, True)
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

    def _condemn(self, case: Case) -> Unjudgeable:
        log.error("killed_the_worker", **self._place(case.name), kills=case.kills)
        message = f"the worker was killed {case.kills} times while it judged this record"
        return Unjudgeable("killed_the_worker", message, Stage.JUDGE)

    def _admit(self) -> list[Work]:
        admitted = self._suspects.admit()
        for case in admitted:
            if case.kills:
                metrics.JUDGED_ALONE.inc()
                self._mark(case, in_flight=True)
            else:
                case.slot = self._journal.add(case.name, 0, True)
        self._journal.write()
        return [self._waiting.pop(case) for case in admitted]

    def _leave(self, case: Case, *, answered: bool) -> None:
        self._suspects.leave(case, answered=answered)
        if not case.inside:
            self._waiting.pop(case, None)
        elif not case.kills:
            self._journal.remove(case.slot)
        elif answered:
            self._forget(case.name)
        else:
            self._mark(case, in_flight=False)

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


def _name_of(record: Record) -> Name:
    return Name(record.partition, record.offset, record.timestamp)
