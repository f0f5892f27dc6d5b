"""What is done to a storm's workers and broker, and when. Pure: from a form and a seed, the same plan every time."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Act(StrEnum):
    """Something that is done in the middle of the work."""

    KILL = "SIGKILL"  # and a fresh worker in its place
    TERM = "SIGTERM"  # and a fresh worker in its place, before the old one has ended
    JOIN = "join"  # one worker more
    LEAVE = "leave"  # SIGTERM, and nobody in its place
    ROLL = "rolling restart"  # of each worker in turn, a step each: a fresh one is ready first, then SIGTERM
    BOUNCE = "broker bounce"  # SIGKILL, an outage, and a start with the same data


RESTARTS = frozenset({Act.KILL, Act.TERM, Act.JOIN, Act.ROLL})


@dataclass(frozen=True, slots=True)
class Form:
    """The size of a storm and what belongs to it."""

    name: str
    events: int
    acts: dict[Act, int] = field(default_factory=dict)
    partitions: int = 32
    workers: int = 3  # at the start
    most_workers: int = 6
    malformed: float = 0.01  # share of the events
    out_of_memory: float = 0.002  # share that the device has no memory for; as many again: none beside others
    poisons: int = 0
    aborted: float = 0.0  # share of the transactions; 0 writes without transactions
    compacted: bool = False  # whether the input's first part is compacted before the workers start

    @property
    def kills(self) -> bool:
        """Whether anything in it may cause duplicates."""
        return self.poisons > 0 or any(self.acts.get(act) for act in (Act.KILL, Act.BOUNCE))

    def scaled(self, events: int) -> "Form":
        """The same with another number of events."""
        return replace(self, events=events)


STORM = Form("storm", 100_000, {Act.KILL: 9, Act.TERM: 9, Act.JOIN: 6, Act.BOUNCE: 3}, poisons=5)
_GENTLE = {Act.TERM: 10, Act.JOIN: 6, Act.ROLL: 2}
GRACEFUL = Form("graceful", 40_000, _GENTLE)
HISTORY = Form("graceful, transactional and compacted", 40_000, _GENTLE, aborted=0.15, compacted=True)

SHORT_STORM = Form(
    "short storm",
    8_000,
    {Act.KILL: 2, Act.TERM: 4, Act.JOIN: 2, Act.BOUNCE: 1},
    workers=2,
    most_workers=3,
    out_of_memory=0.005,
    poisons=1,
)
SHORT_HISTORY = replace(
    HISTORY, name="short " + HISTORY.name, events=6_000, acts={Act.TERM: 3, Act.JOIN: 2, Act.ROLL: 1}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One act: once `at` events are answered."""

    at: int
    act: Act
    pick: float  # in [0, 1): which of the workers that are there by then
    seconds: float  # of a bounce's outage


def plan(form: Form, seed: int) -> list[Step]:
    """The steps in their order. They lie between a twentieth and nine tenths of the events, so that each of them meets
    work in flight."""
    rng = random.Random(f"{form.name} {seed}")
    acts = [act for act, times in form.acts.items() for _ in range(times)]
    rng.shuffle(acts)
    acts = list(_within(form, acts))
    first, last = 0.05 * form.events, 0.9 * form.events
    gap = (last - first) / max(1, len(acts))
    places = [first + gap * (number + 0.8 * rng.random()) for number in range(len(acts))]
    return [Step(int(at), act, rng.random(), 0.5 + 2.5 * rng.random()) for at, act in zip(places, acts, strict=True)]


def poisoned(form: Form, seed: int) -> set[int]:
    """The numbers of the events that kill, far enough apart to come one at a time."""
    rng = random.Random(f"poison {form.name} {seed}")
    gap = 0.8 * form.events / max(1, form.poisons)
    return {int(0.1 * form.events + gap * (number + 0.6 * rng.random())) for number in range(form.poisons)}


def _within(form: Form, acts: list[Act]) -> Iterator[Act]:
    """Where there are as many workers as there may be, one leaves before another joins; a rolling restart is a step for
    each worker."""
    workers = form.workers
    for act in acts:
        if act is Act.JOIN:
            if workers == form.most_workers:
                yield Act.LEAVE
            else:
                workers += 1
        yield from [act] * (workers if act is Act.ROLL else 1)
