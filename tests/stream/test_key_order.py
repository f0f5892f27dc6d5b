"""Key order: verdicts of one key leave in the order of its events, whatever is finished first."""

import random

import pytest

from tests.stream.works import work
from worker.stream.key_order import KeyOrder
from worker.stream.work import Work


def entered(order: KeyOrder, *keys: bytes | None) -> list[Work]:
    works = [work(number, key=key) for number, key in enumerate(keys)]
    order.enter(works)
    return works


def test_the_first_of_a_key_waits_for_nobody() -> None:
    order = KeyOrder()
    (first,) = entered(order, b"k")
    assert order.may_leave(first)


def test_the_next_of_a_key_waits_until_the_one_before_left() -> None:
    order = KeyOrder()
    first, second = entered(order, b"k", b"k")
    assert not order.may_leave(second)
    assert order.leave(first) is second
    assert order.may_leave(second)


def test_who_is_not_ready_is_not_handed_out_and_may_leave_later() -> None:
    order = KeyOrder()
    first, second = entered(order, b"k", b"k")
    assert order.leave(first) is None
    assert order.may_leave(second)


def test_who_comes_when_all_have_left_waits_for_nobody() -> None:
    order = KeyOrder()
    order.leave(*entered(order, b"k"))
    (later,) = entered(order, b"k")
    assert order.may_leave(later)


def test_keys_do_not_wait_for_each_other() -> None:
    order = KeyOrder()
    _, other, empty = entered(order, b"a", b"b", b"")
    assert order.may_leave(other) and order.may_leave(empty)


def test_records_without_a_key_have_no_order() -> None:
    order = KeyOrder()
    for each in reversed(entered(order, None, None, None)):
        assert order.may_leave(each)
        assert order.leave(each) is None
    assert len(order) == 0


def test_without_an_order_everyone_leaves_when_ready() -> None:
    order = KeyOrder(kept=False)
    first, second = entered(order, b"k", b"k")
    assert order.may_leave(second) and order.leave(second) is None
    assert order.may_leave(first) and order.leave(first) is None
    assert len(order) == 0


def test_leaving_twice_lets_nobody_overtake() -> None:
    order = KeyOrder()
    first, second, third = entered(order, b"k", b"k", b"k")
    assert not order.may_leave(third)
    order.leave(first)
    assert order.leave(first) is None
    assert not order.may_leave(third)
    assert order.leave(second) is third
    order.leave(third)
    assert len(order) == 0


def test_leaving_out_of_turn_lets_nobody_overtake() -> None:
    order = KeyOrder()
    first, second, third = entered(order, b"k", b"k", b"k")
    assert not order.may_leave(third)
    assert order.leave(second) is None
    assert not order.may_leave(third)
    assert order.leave(first) is third


def test_who_waits_and_is_given_back_is_handed_out_to_nobody() -> None:
    order = KeyOrder()
    first, second, third = entered(order, b"k", b"k", b"k")
    assert not order.may_leave(second) and not order.may_leave(third)
    assert order.leave(second) is None  # given back; the first is still there
    assert order.leave(first) is third
    order.leave(third)
    assert len(order) == 0


def test_a_key_is_forgotten_with_its_last_event() -> None:
    order = KeyOrder()
    first, second, other = entered(order, b"k", b"k", b"other")
    assert len(order) == 2
    order.leave(first)
    assert len(order) == 2
    order.leave(second)
    assert len(order) == 1
    order.leave(other)
    assert len(order) == 0


def test_a_keys_works_are_no_chain_that_grows() -> None:
    order = KeyOrder()
    first, second, third = entered(order, b"k", b"k", b"k")
    for each in (first, second, third):
        order.leave(each)
    assert [(each.before, each.behind) for each in (first, second, third)] == [(None, None)] * 3


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_judged_first_every_key_keeps_its_order_and_nobody_waits_for_ever(seed: int) -> None:
    rng = random.Random(seed)
    order, left, gone = KeyOrder(), list[Work](), set[int]()
    works = entered(order, *(rng.choice([b"a", b"b", b"c", None]) for _ in range(200)))
    ready = works.copy()
    rng.shuffle(ready)

    def go(leaving: Work | None) -> None:
        while leaving is not None and order.may_leave(leaving):
            assert leaving.offset not in gone
            left.append(leaving)
            leaving = order.leave(leaving)

    for each in ready:
        if rng.random() < 0.1:  # given back instead
            gone.add(each.offset)
            go(order.leave(each))
        else:
            go(each)
    for key in (b"a", b"b", b"c"):
        offsets = [each.offset for each in left if each.record.key == key]
        assert offsets and offsets == sorted(offsets)
    assert len(left) + len(gone) == len(works)
    assert len(order) == 0
