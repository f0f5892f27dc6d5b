"""The demo's sum: it holds only if every input record has exactly one outcome."""

from dataclasses import dataclass
from uuid import UUID

import orjson
import pytest

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers
from worker.contract.verdict import Label, verdict_id_of
from worker.local.tally import DEAD_LETTER, Tally
from worker.local.traffic import Sample

OUTCOME_OF = {"safe": "safe", "unsafe": "unsafe", "review": "review", "dead": DEAD_LETTER}


@dataclass(frozen=True)
class Output:
    """An output record."""

    topic: str
    value: bytes | None = None
    headers: Headers = ()
    key: bytes | None = None
    partition: int = 0
    offset: int = 0
    timestamp: int = 7


def record_id(offset: int) -> UUID:
    return verdict_id_of("in", 0, offset, 7)


def verdict(offset: int, label: str = "safe") -> Output:
    value = {"verdict_id": str(record_id(offset)), "label": label, "prompt_attack": False, "coverage": {"images": 0}}
    return Output(label, orjson.dumps(value))


def dead_letter(offset: int) -> Output:
    cause = Unjudgeable("not_json", "the value is not JSON", Stage.READ)
    return Output("dead", headers=DeadLetter.of(Output("in", offset=offset), cause).headers)


@pytest.fixture
def tally() -> Tally:
    sent = Tally(OUTCOME_OF, wanted=3)
    for offset in range(3):
        sent.sent_record(record_id(offset), Sample("prompt", None, b"", Label.SAFE), at=1.0)
    return sent


def test_the_sum_holds_when_every_record_has_one_outcome(tally: Tally) -> None:
    assert all(tally.seen(output, at=1.5) for output in (verdict(0), verdict(1, "unsafe"), dead_letter(2)))
    assert tally.holds
    assert dict(tally.counts) == {"safe": 1, "unsafe": 1, DEAD_LETTER: 1}
    assert (tally.judged_right, tally.judged_known) == (1, 2)
    assert tally.latency(0.5) == 0.5


def test_it_does_not_hold_with_a_record_missing(tally: Tally) -> None:
    tally.seen(verdict(0), at=2)
    assert tally.missing == 2
    assert not tally.holds


def test_it_does_not_hold_with_a_record_answered_twice(tally: Tally) -> None:
    for output in (verdict(0), verdict(1), dead_letter(2), dead_letter(2)):
        tally.seen(output, at=2)
    assert tally.repeated == 1
    assert not tally.holds


def test_what_answers_nothing_that_was_sent_is_told_apart(tally: Tally) -> None:
    assert not tally.seen(verdict(99), at=2)
    assert not tally.outcomes


def test_it_does_not_hold_with_nothing_sent() -> None:
    assert not Tally(OUTCOME_OF, wanted=0).holds


def test_it_does_not_hold_with_not_everything_sent() -> None:
    tally = Tally(OUTCOME_OF, wanted=2)
    tally.sent_record(record_id(0), Sample("prompt", None, b""), at=1.0)
    tally.seen(verdict(0), at=2)
    assert not tally.holds
