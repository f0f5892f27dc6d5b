"""Suspects: judged alone, acquitted by an answer, condemned by their third kill. What kills in company is nobody's."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.poison.suspects import MOST_KILLS, Case, Name, Suspects, Trace, kills_after, worst


def name(offset: int, partition: int = 0) -> Name:
    return Name(partition, offset, 1_700_000_000_000)


def in_flight(*offsets: int, kills: int = 0) -> list[Trace]:
    return [Trace(name(offset), kills, True) for offset in offsets]


def arrived(suspects: Suspects, *offsets: int) -> list[Case]:
    return [suspects.arrive(name(offset)) for offset in offsets]


def offsets(cases: list[Case]) -> list[int]:
    return [case.name.offset for case in cases]


# -- counting


def test_an_empty_journal_accuses_nobody() -> None:
    assert kills_after([]) == {}


def test_a_kill_in_company_makes_suspects_of_all_and_counts_once_for_ever() -> None:
    first = kills_after(in_flight(1, 2, 3))
    assert first == {name(1): 1, name(2): 1, name(3): 1}
    again = kills_after([Trace(each, kills, True) for each, kills in first.items()])
    assert again == first


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_a_kill_alone_is_one_more(before: int, after: int) -> None:
    others = [Trace(name(8), 1, False), Trace(name(9), 2, False)]
    kills = kills_after([*others, *in_flight(5, kills=before)])
    assert kills == {name(5): after, name(8): 1, name(9): 2}


def test_a_suspect_that_was_not_in_flight_stays_what_it_was() -> None:
    assert kills_after([Trace(name(5), 2, False), Trace(name(6), 0, False)]) == {name(5): 2}


def test_two_kills_in_company_and_one_alone_condemn_nobody() -> None:
    kills = kills_after(in_flight(1, 2))
    kills = kills_after([Trace(each, count, True) for each, count in kills.items()])
    kills = kills_after([Trace(name(1), kills[name(1)], True), Trace(name(2), kills[name(2)], False)])
    assert kills == {name(1): 2, name(2): 1}
    assert not any(case.condemned for case in arrived(Suspects(kills), 1, 2))


def test_a_name_that_a_torn_write_left_in_two_places_counts_as_one() -> None:
    assert kills_after([*in_flight(1), Trace(name(1), 2, False)]) == {name(1): 3}


def test_the_worst_are_remembered_then_the_youngest() -> None:
    kills = {Name(0, 1, 50): 1, Name(0, 2, 60): 1, Name(0, 3, 10): 2, Name(0, 4, 70): 1}
    assert worst(kills, 2) == {Name(0, 3, 10): 2, Name(0, 4, 70): 1}
    assert worst(kills, 9) == kills


def test_what_was_in_flight_at_the_last_kill_is_remembered_before_what_is_younger() -> None:
    kills = {Name(0, 1, 50): 1, Name(0, 2, 60): 1, Name(0, 3, 10): 2, Name(0, 4, 70): 1}
    assert worst(kills, 2, in_flight={Name(0, 1, 50)}) == {Name(0, 3, 10): 2, Name(0, 1, 50): 1}


# -- who comes in


def test_without_suspects_all_come_in_at_once() -> None:
    suspects = Suspects({})
    cases = arrived(suspects, 1, 2, 3)
    assert suspects.admit() == cases
    assert all(case.inside for case in cases)
    assert suspects.admit() == []


def test_a_suspect_waits_until_nothing_is_inside_and_nobody_overtakes_it() -> None:
    suspects = Suspects({name(3): 1})
    one, two, three, four, five = arrived(suspects, 1, 2, 3, 4, 5)
    assert offsets(suspects.admit()) == [1, 2]
    suspects.leave(one, answered=True)
    assert suspects.admit() == []
    suspects.leave(two, answered=True)
    assert suspects.inside == 0
    assert offsets(suspects.admit()) == [3]
    assert suspects.admit() == [], "nothing begins beside it"
    suspects.leave(three, answered=True)
    assert suspects.admit() == [four, five]


def test_suspects_come_in_one_at_a_time() -> None:
    suspects = Suspects({name(1): 1, name(2): 2})
    one, two = arrived(suspects, 1, 2)
    assert suspects.admit() == [one]
    suspects.leave(one, answered=True)
    assert suspects.admit() == [two]


def test_an_answer_acquits_and_a_return_does_not() -> None:
    suspects = Suspects({name(1): 1, name(2): 1, name(3): 1})
    one, two, _three = arrived(suspects, 1, 2, 3)
    suspects.admit()
    suspects.leave(one, answered=True)
    suspects.admit()
    suspects.leave(two, answered=False)
    assert suspects.kills == {name(2): 1, name(3): 1}
    (again,) = arrived(suspects, 1)
    assert again.kills == 0


def test_what_leaves_while_it_waits_never_comes_in_and_blocks_nobody() -> None:
    suspects = Suspects({name(2): 1})
    one, two, three = arrived(suspects, 1, 2, 3)
    suspects.admit()
    suspects.leave(two, answered=False)
    assert suspects.admit() == [three]
    assert not two.inside
    suspects.leave(one, answered=True)
    suspects.leave(one, answered=True)
    suspects.leave(three, answered=True)
    assert suspects.inside == 0


def test_a_condemned_record_waits_for_nobody_and_is_never_let_in() -> None:
    suspects = Suspects({name(2): MOST_KILLS})
    one, two, three = arrived(suspects, 1, 2, 3)
    assert two.condemned
    assert suspects.admit() == [one, three]
    suspects.leave(two, answered=True)
    assert suspects.kills == {name(2): MOST_KILLS}, "until it is committed: it may come again"


def test_another_record_at_the_place_of_a_suspect_is_none() -> None:
    suspects = Suspects({name(1): 1})
    assert suspects.arrive(Name(0, 1, 5)).kills == 0


def test_the_suspect_that_is_judged_now_is_not_forgotten_before_it_has_left() -> None:
    """It was given back, and another worker has answered it, while a thread here is at it still."""
    suspects = Suspects({name(4): 1})
    case = suspects.arrive(name(4))
    assert suspects.admit() == [case]
    assert suspects.passed(0, 6) == []
    suspects.leave(case, answered=False)
    assert suspects.passed(0, 6) == [name(4)]


def test_suspects_before_a_committed_offset_are_forgotten() -> None:
    suspects = Suspects({name(4): 1, name(5): 3, name(5, partition=1): 1})
    assert suspects.passed(0, 5) == [name(4)]
    assert suspects.passed(0, 6) == [name(5)]
    assert suspects.kills == {name(5, partition=1): 1}


# -- a whole life


class Worker:
    """Records 0 to n-1 in order; some kill, and an operator does at times. `judge` is one process's life."""

    def __init__(self, count: int, poisons: set[int], chance: random.Random) -> None:
        self.todo = list(range(count))
        self.dead: list[int] = []
        self.answered: list[int] = []
        self.kills_by: dict[int, int] = dict.fromkeys(poisons, 0)
        self._chance = chance
        self._journal: list[Trace] = []

    def judge(self, *, operator_kills: bool) -> bool:
        """True: everything is done. False: it was killed."""
        suspects = Suspects(kills_after(self._journal))
        cases = arrived(suspects, *self.todo)
        for case in cases:
            if case.condemned:
                self.dead.append(case.name.offset)
        inside: list[Case] = []
        while True:
            inside += suspects.admit()
            assert len(inside) == 1 or not any(case.kills for case in inside), "a suspect is judged alone"
            if not inside:
                self.todo.clear()
                return True
            case = self._chance.choice(inside)
            offset = case.name.offset
            if offset in self.kills_by or (operator_kills and self._chance.random() < 0.2):
                if offset in self.kills_by:
                    self.kills_by[offset] += 1
                now = {each.name: each.kills for each in inside}
                rest = [Trace(each, kills, False) for each, kills in suspects.kills.items() if each not in now]
                self._journal = [*rest, *(Trace(each, kills, True) for each, kills in now.items())]
                self.todo = [each for each in self.todo if each not in {*self.answered, *self.dead}]
                return False
            inside.remove(case)
            suspects.leave(case, answered=True)
            self.answered.append(offset)


@given(st.integers(1, 12), st.sets(st.integers(0, 11), max_size=3), st.randoms(use_true_random=False))
def test_every_poison_dies_of_three_kills_at_most_and_nothing_else_does(
    count: int, poisons: set[int], chance: random.Random
) -> None:
    poisons = {each for each in poisons if each < count}
    worker = Worker(count, poisons, chance)
    lives = 1
    while not worker.judge(operator_kills=False):
        lives += 1
        assert lives <= 3 * len(poisons) + 1
    assert set(worker.dead) == poisons
    assert set(worker.answered) == set(range(count)) - poisons
    assert all(1 <= kills <= MOST_KILLS for kills in worker.kills_by.values())


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_an_operators_kills_in_company_condemn_nobody(count: int, chance: random.Random) -> None:
    worker = Worker(count, set(), chance)
    worker.judge(operator_kills=True)
    while not worker.judge(operator_kills=False):
        pass
    assert worker.dead == []
