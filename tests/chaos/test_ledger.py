"""The books of a storm find each thing that may be wrong, and nothing where nothing is."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid5

import pytest

from tests.chaos.events import POISON, Outcome
from tests.chaos.ledger import Answer, Asked, Kill, settle

SAFE, UNSAFE = Outcome("safe"), Outcome("unsafe")
NAMES = UUID(int=0)


def record(number: int, wanted: Outcome = SAFE, *, partition: int = 0, key: bytes = b"k") -> Asked:
    """The input record at this offset."""
    return Asked(uuid5(NAMES, f"{partition}/{number}"), number, key, partition, number, wanted)


def answer(asked: Asked, offset: int, at: float = 0.0) -> Answer:
    """Its right answer, at this offset of its topic."""
    return Answer(asked.id, asked.key, asked.wanted.kind, 0, offset, at, asked.wanted)


ASKED = [record(0), record(1, UNSAFE), record(2), record(3, POISON), record(4)]
ANSWERS = [answer(each, offset=number, at=float(number)) for number, each in enumerate(ASKED)]


def violations(answers: list[Answer], *kills: Kill, asked: list[Asked] = ASKED) -> str:
    """All of them in one text."""
    return "\n".join(settle(asked, answers, kills).violations())


def test_right_books() -> None:
    ledger = settle(ASKED, ANSWERS, [])
    assert ledger.violations() == []
    assert ledger.asked == 5
    assert ledger.outcomes == {"safe": 3, "unsafe": 1, "dead_letter": 1}
    assert ledger.causes == {"killed_the_worker": 1}
    assert ledger.poisons == 1


def test_a_lost_record() -> None:
    ledger = settle(ASKED, ANSWERS[:2] + ANSWERS[3:], [])
    assert ledger.lost == [ASKED[2]]
    assert "1 lost" in ledger.violations()[0]


def test_what_was_compacted_away_need_not_be_answered_but_may_be() -> None:
    gone = replace(ASKED[2], needed=False)
    asked = [gone if each is ASKED[2] else each for each in ASKED]
    assert violations(ANSWERS[:2] + ANSWERS[3:], asked=asked) == ""
    assert violations(ANSWERS, asked=asked) == ""


def test_an_answer_to_nothing_that_was_sent() -> None:
    assert "1 answers to nothing" in violations([*ANSWERS, answer(record(9), 9)])


@pytest.mark.parametrize("said", [UNSAFE, Outcome("dead_letter", "killed_the_worker"), Outcome("dead_letter", "x")])
def test_an_answer_that_is_wrong(said: Outcome) -> None:
    wrong = replace(ANSWERS[0], outcome=said)
    assert "1 answered otherwise" in violations([wrong, *ANSWERS[1:]])


def test_a_poison_that_is_called_malformed() -> None:
    wrong = replace(ANSWERS[3], outcome=Outcome("dead_letter", "not_json"))
    assert "1 answered otherwise" in violations([*ANSWERS[:3], wrong, ANSWERS[4]])
    assert settle(ASKED, [wrong], []).poisons == 0


ANOTHER = record(5, key=b"another")


def twin(*times: float, kills: Sequence[Kill] = ()) -> str:
    """The violations where a record of partition 0 was answered at these times."""
    twins = [answer(ANOTHER, 10 + number, at) for number, at in enumerate(times)]
    return violations([*ANSWERS, *twins], *kills, asked=[*ASKED, ANOTHER])


def kill(since: float, until: float, *partitions: int) -> Kill:
    """Of a worker, or without partitions of the broker."""
    return Kill("SIGKILL of worker-1", since, until, frozenset(partitions) if partitions else None)


def test_a_twin_needs_a_kill_between() -> None:
    assert "1 twins that no kill explains" in twin(100, 120)
    assert twin(100, 120, kills=[kill(110, 110.1, 0, 5)]) == ""
    assert twin(100, 120, kills=[kill(110, 115)]) == "", "the broker's"


@pytest.mark.parametrize(
    "other",
    [kill(110, 110.1, 5), kill(130, 131, 0), kill(90, 91, 0), kill(90, 91), kill(130, 131)],
    ids=["of another's partition", "after both", "before both", "a bounce before both", "a bounce after both"],
)
def test_a_kill_that_explains_nothing(other: Kill) -> None:
    assert "1 twins that no kill explains" in twin(100, 120, kills=[other])


def test_what_was_published_before_the_last_assignment_is_committed() -> None:
    def killed(owned_since: float) -> Kill:
        return replace(kill(110, 111, 0), owned_since=owned_since)

    assert twin(100, 120, kills=[killed(owned_since=99)]) == ""
    assert "1 twins that no kill explains" in twin(100, 120, kills=[killed(owned_since=105)])


def test_a_twin_of_what_must_have_been_committed_long_ago() -> None:
    assert "1 twins that no kill explains" in twin(100, 320, kills=[kill(310, 311, 0)])


def test_each_of_three_answers_needs_its_own_kill() -> None:
    one, two = kill(110, 111, 0), kill(130, 131, 0)
    assert "1 twins that no kill explains" in twin(100, 120, 140, kills=[one])
    assert twin(100, 120, 140, kills=[one, two]) == ""


def test_a_twin_that_says_something_else() -> None:
    other = replace(answer(ASKED[0], 10, 120.0), outcome=Outcome("review"))
    found = violations([*ANSWERS, other], kill(110, 111, 0))
    assert "1 twins that say something else" in found


def test_order_within_a_key_and_topic() -> None:
    swapped = [answer(ASKED[0], 1), answer(ASKED[2], 0), *ANSWERS[1:2], *ANSWERS[3:]]
    assert "1 out of order" in violations(swapped)
    other_key = [replace(each, key=b"other") if each is ASKED[0] else each for each in ASKED]
    answers = [answer(other_key[0], 1), answer(ASKED[2], 0), *ANSWERS[1:2], *ANSWERS[3:]]
    assert violations(answers, asked=other_key) == ""


def test_a_twin_may_come_after_later_ones() -> None:
    late = answer(ASKED[0], 10, 120.0)
    assert violations([*ANSWERS, late], kill(3, 4, 0)) == ""
