"""The books of a storm: what went in, what came out, and what was done in between. Pure.

What must hold, whatever is killed:

- every record is answered, and with what its content calls for; nothing else is answered;
- a second answer to a record (a twin) says the same as the first, and lies on the other side of a kill: the first was
  published between the last assignment of a worker that owned the record's partition and the worker's kill, or up to a
  minute before the end of a broker's outage; the second after the kill's beginning. Without kills there are no twins;
- of one key, the first answers in each topic come in the order of its events. A twin may come after later ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from tests.chaos.events import POISON, Outcome

# A verdict stays uncommitted for as long as an earlier record of its partition is on its way.
MOST_UNCOMMITTED_SECONDS = 60.0
_CLOCK = 0.002  # seconds: Kafka's timestamps are whole milliseconds


@dataclass(frozen=True, slots=True)
class Asked:
    """An input record, as its topic has it."""

    id: UUID
    number: int  # of its event
    key: bytes | None
    partition: int
    offset: int
    wanted: Outcome
    needed: bool = True  # False: compacted away by now, perhaps before a worker could read it


@dataclass(frozen=True, slots=True)
class Answer:
    """An output record."""

    id: UUID
    key: bytes | None
    topic: str
    partition: int
    offset: int
    at: float  # seconds since the epoch: when its worker handed it to the producer
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Kill:
    """Something that may cause twins. Seconds since the epoch."""

    what: str
    since: float
    until: float
    partitions: frozenset[int] | None = None  # of the input that the killed worker owned; None: all
    owned_since: float | None = None  # when they were assigned: before that it had committed what it had published

    def explains(self, partition: int, first: Answer, second: Answer) -> bool:
        """Whether a record of this partition may have these two answers because of it."""
        if self.partitions is not None and partition not in self.partitions:
            return False
        began = self.since - MOST_UNCOMMITTED_SECONDS
        if self.owned_since is not None:
            began = max(began, self.owned_since - _CLOCK)
        return began <= first.at <= self.until + _CLOCK and second.at >= self.since - _CLOCK


@dataclass(frozen=True, slots=True)
class Twin:
    """Two answers to one record."""

    first: Answer
    second: Answer
    explained_by: str | None

    @property
    def alike(self) -> bool:
        """Whether both say the same."""
        return self.first.outcome == self.second.outcome


@dataclass(slots=True)
class Ledger:
    """What came of it."""

    asked: int
    lost: list[Asked] = field(default_factory=list)
    unknown: list[Answer] = field(default_factory=list)
    wrong: list[tuple[Asked, Answer]] = field(default_factory=list)
    twins: list[Twin] = field(default_factory=list)
    disordered: list[tuple[Answer, Answer]] = field(default_factory=list)  # of one key and topic, the later one first
    outcomes: Counter[str] = field(default_factory=Counter)  # first answers by kind
    causes: Counter[str] = field(default_factory=Counter)  # of the dead letters among them
    poisons: int = 0  # records that kill, found out

    @property
    def unexplained(self) -> list[Twin]:
        """The twins that no kill explains."""
        return [twin for twin in self.twins if twin.explained_by is None]

    def violations(self) -> list[str]:
        """A sentence for each rule that was broken, with the first cases."""
        told = [
            _told("lost", self.lost),
            _told("answers to nothing that was sent", self.unknown),
            _told("answered otherwise than their content says", self.wrong),
            _told("twins that no kill explains", self.unexplained),
            _told("twins that say something else", [twin for twin in self.twins if not twin.alike]),
            _told("out of order within their key", self.disordered),
        ]
        return [each for each in told if each]


def _told(what: str, cases: Sequence[object]) -> str:
    return f"{len(cases)} {what}: " + "; ".join(map(str, cases[:3])) if cases else ""


def settle(asked: Iterable[Asked], answers: Iterable[Answer], kills: Sequence[Kill]) -> Ledger:
    """Balances the books."""
    by_id = {each.id: each for each in asked}
    of_id: dict[UUID, list[Answer]] = defaultdict(list)
    known: list[Answer] = []
    ledger = Ledger(asked=0)
    for answer in answers:
        if answer.id not in by_id:
            ledger.unknown.append(answer)
            continue
        of_id[answer.id].append(answer)
        known.append(answer)
    for record in by_id.values():
        _settle_one(ledger, record, sorted(of_id[record.id], key=lambda each: (each.at, each.offset)), kills)
    ledger.disordered = _disordered(by_id, known)
    return ledger


def _settle_one(ledger: Ledger, record: Asked, answers: Sequence[Answer], kills: Sequence[Kill]) -> None:
    if not answers:
        if record.needed:
            ledger.asked += 1
            ledger.lost.append(record)
        return
    ledger.asked += 1
    outcome = answers[0].outcome
    ledger.outcomes[outcome.kind] += 1
    if outcome.kind == "dead_letter":
        ledger.causes[outcome.cause] += 1
        ledger.poisons += outcome == record.wanted == POISON
    ledger.wrong += [(record, answer) for answer in answers if answer.outcome != record.wanted]
    for first, second in pairwise(answers):
        causes = (kill.what for kill in kills if kill.explains(record.partition, first, second))
        ledger.twins.append(Twin(first, second, next(causes, None)))


def _disordered(by_id: dict[UUID, Asked], answers: Iterable[Answer]) -> list[tuple[Answer, Answer]]:
    found: list[tuple[Answer, Answer]] = []
    last: dict[tuple[str, bytes], Answer] = {}
    seen: set[UUID] = set()
    for answer in sorted(answers, key=lambda each: (each.topic, each.partition, each.offset)):
        if answer.key is None or answer.id in seen:
            continue
        seen.add(answer.id)
        place = (answer.topic, answer.key)
        before = last.get(place)
        if before is not None and by_id[before.id].offset > by_id[answer.id].offset:
            found.append((before, answer))
        last[place] = answer
    return found
