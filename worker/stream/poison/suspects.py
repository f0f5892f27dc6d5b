"""Suspects: what was in flight when the worker was killed is judged one record at a time. Pure: no file, no loop.

A segmentation fault, the kernel's out-of-memory killer or a lost device ends the process without a word about whose
fault it was. What was in flight then is known (the journal names it), and is suspected after the restart. The rules:

- **Killed in company**, several records in flight: one of them did it, or none (an operator's SIGKILL). Each has one
  kill from then on, however often it happens: kills in company are no evidence against one of them.
- **Killed alone**: one kill more.
- **A suspect is judged alone**: it waits until nothing else is in flight, and nothing else begins before it has ended.
  So the next kill has one suspect only.
- **Answered**: it did not kill, and is no suspect any more.
- **The third kill condemns**: it is judged no more. Of three kills at least two were alone, at one go. An innocent
  record would have to be the one in flight at two kills in a row, after one in company.
"""

from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import Final, NamedTuple

MOST_KILLS: Final = 3


class Name(NamedTuple):
    """Which record, as in its verdict's id: the timestamp tells it from one at its place in an older topic."""

    partition: int
    offset: int
    timestamp: int  # milliseconds since the epoch


class Trace(NamedTuple):
    """What a journal says of a record."""

    name: Name
    kills: int  # before this start
    in_flight: bool  # when the journal was last written


class Case:
    """One record on its way through judgement."""

    __slots__ = ("gone", "inside", "kills", "name", "slot")

    def __init__(self, name: Name, kills: int) -> None:
        self.name, self.kills = name, kills
        self.inside = False  # it may be judged now
        self.gone = False
        self.slot = -1  # the journal's own

    @property
    def condemned(self) -> bool:
        """Whether it is judged no more."""
        return self.kills >= MOST_KILLS


def kills_after(traces: Iterable[Trace]) -> dict[Name, int]:
    """The suspects at a start, and the kills of each, by what the journal says of the process before."""
    kills: dict[Name, int] = {}
    in_flight: set[Name] = set()
    for trace in traces:
        kills[trace.name] = max(trace.kills, kills.get(trace.name, 0))
        if trace.in_flight:
            in_flight.add(trace.name)
    for name in in_flight:
        kills[name] = kills[name] + 1 if len(in_flight) == 1 else max(kills[name], 1)
    return {name: count for name, count in kills.items() if count}


def worst(kills: Mapping[Name, int], most: int, in_flight: Container[Name] = ()) -> dict[Name, int]:
    """The `most` of them to remember: those with the most kills, of these those in flight at the last one, and of these
    the youngest. A record that kills is often the oldest in flight: its partition does not get on."""
    ranked = sorted(kills, key=lambda name: (kills[name], name in in_flight, name.timestamp, name), reverse=True)
    return {name: kills[name] for name in ranked[:most]}


class Suspects:
    """Who may be judged now. First come, first in: nobody overtakes a suspect that waits to be alone.

    So whoever waits here keeps only later ones waiting, and waits only for earlier ones: nobody waits for ever for his
    turn within a key, and of a partition that goes away, everything that waits here can be given back.
    """

    def __init__(self, kills: Mapping[Name, int]) -> None:
        self.kills = dict(kills)  # of each suspect
        self.waiting: deque[Case] = deque()  # in the order of their arrival; some may be gone
        self.inside = 0  # cases that are judged now
        self._alone: Case | None = None  # the suspect that is judged now

    @property
    def none(self) -> bool:
        """Whether nobody is suspected any more, and nobody waits: from then on there is nothing to decide."""
        return not (self.kills or self.waiting)

    def arrive(self, name: Name) -> Case:
        """A record's case; `admit` says when it may be judged. A condemned one never is, and waits for nobody."""
        case = Case(name, self.kills.get(name, 0) if self.kills else 0)
        if not case.condemned:
            self.waiting.append(case)
        return case

    def admit(self) -> list[Case]:
        """Those that may be judged from now on, in the order of their arrival."""
        admitted: list[Case] = []
        while self.waiting:
            case = self.waiting[0]
            if not case.gone:
                if self._alone is not None or (case.kills and self.inside):
                    break
                self.inside += 1
                case.inside, self._alone = True, case if case.kills else None
                admitted.append(case)
            self.waiting.popleft()
        return admitted

    def leave(self, case: Case, *, answered: bool) -> None:
        """The record is finished or given back, wherever it was; may be called twice."""
        if case.gone:
            return
        case.gone = True
        if case.inside:
            self.inside -= 1
            if case.kills:
                self._alone = None
                if answered:
                    self.kills.pop(case.name, None)

    def passed(self, partition: int, end: int) -> list[Name]:
        """Forgets the suspects of a partition before the offset `end`, which was committed; their names. Not the one
        that is judged now: another worker has answered it meanwhile, and here it may still kill."""
        alone = self._alone and self._alone.name
        past = [name for name in self.kills if name.partition == partition and name.offset < end and name != alone]
        for name in past:
            del self.kills[name]
        return past
