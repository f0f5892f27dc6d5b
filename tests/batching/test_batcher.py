"""Batches: the oldest always goes first, neighbours in length go with it, the budget is never exceeded."""

import math
import random
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget


@dataclass(frozen=True, slots=True)
class Item:
    tokens: int
    arrived: float = 0.0
    name: int = 0


def batcher(budget: int, *lengths: int, max_wait: float = 0.005) -> Batcher[Item]:
    """A batcher with items of these lengths, the first one the oldest."""
    queue: Batcher[Item] = Batcher(TokenBudget(budget), max_wait)
    for number, tokens in enumerate(lengths):
        queue.add(Item(tokens, float(number), number))
    return queue


def lengths(queue: Batcher[Item]) -> list[int]:
    return [item.tokens for item in queue.take()]


# -- the budget


@pytest.mark.parametrize(
    ("longest", "rows", "holds"), [(10, 10, True), (10, 11, False), (101, 1, True), (101, 2, False), (50, 2, True)]
)
def test_a_batch_costs_its_longest_times_its_rows_and_a_single_check_always_fits(
    longest: int, rows: int, holds: bool
) -> None:
    assert TokenBudget(100).holds(longest, rows) is holds


# -- what goes together


def test_nothing_queued_gives_nothing() -> None:
    queue = batcher(100)
    assert list(queue.take()) == []
    assert queue.due_at() is None
    assert not queue.full
    assert len(queue) == 0


def test_all_go_together_where_the_budget_holds_them() -> None:
    queue = batcher(100, 25, 30, 28)
    assert lengths(queue) == [25, 28, 30]
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("queued", "taken"),
    [
        ([50, 1, 48, 100, 51], [50, 51]),  # the nearest in length, not the next in age
        ([50, 1, 49, 100, 51], [49, 50]),  # of two as near the shorter: it costs less
        ([50, 48, 53], [48, 50]),  # the nearer one in the queue's order is too long
        ([10, 100, 11, 9, 12, 8, 10, 11], [9, 10, 10, 11, 11]),
        ([10, 14, 15, 16], [10, 14, 15, 16]),
        ([33, 30, 31, 32, 34], [32, 33, 34]),
        ([25, 26, 25, 25, 25], [25, 25, 25, 25]),
    ],
)
def test_the_oldest_goes_with_those_nearest_to_it_in_length(queued: list[int], taken: list[int]) -> None:
    assert lengths(batcher(104, *queued)) == taken


def test_one_that_is_too_long_for_the_budget_goes_alone() -> None:
    queue = batcher(100, 500, 500, 10)
    assert [lengths(queue), lengths(queue), lengths(queue)] == [[500], [500], [10]]


def test_the_oldest_goes_first_even_where_its_batch_is_small() -> None:
    queue = batcher(100, 90, *[10] * 10)
    assert lengths(queue) == [90]
    assert lengths(queue) == [10] * 10


@pytest.mark.parametrize(
    ("queued", "taken"),
    [
        ([50, 10, 60], [50]),  # with the 10 it would cost 100
        ([10, 10, 10, 50], [10, 10, 10]),  # three that wait for a quarter of the time
        ([10, 10, 100, 10, 10, 10], [10, 10, 10, 10, 10]),
        ([3, 5], [3, 5]),  # a batch more costs more than the padding
        ([20, 16, 18], [16, 18, 20]),
    ],
)
def test_who_is_not_worth_the_padding_waits_for_the_next_batch(queued: list[int], taken: list[int]) -> None:
    assert lengths(batcher(100, *queued)) == taken


def test_a_deep_queue_of_chat_messages_is_padded_by_less_than_15_percent_in_batches_of_some_size() -> None:
    """As in the running worker under load: five budgets of tokens wait for Llama Guard, of 5 to 2000 tokens each."""
    rng, budget = random.Random(7), 16384
    queue: Batcher[Item] = Batcher(TokenBudget(budget), max_wait=0.005)
    waiting = tokens = padded = batches = 0
    for number in count():
        waiting += (length := min(max(round(rng.lognormvariate(math.log(100), 1.2)), 5), 2000))
        queue.add(Item(length, float(number)))
        if waiting < 5 * budget:
            continue
        batch = lengths(queue)
        waiting -= sum(batch)
        tokens, padded, batches = tokens + sum(batch), padded + batch[-1] * len(batch), batches + 1
        if batches == 500:
            break
    assert 1 - tokens / padded < 0.15
    assert padded / batches > budget / 3


def test_of_equal_lengths_the_oldest_go_first() -> None:
    queue = batcher(30, *[10] * 7)
    assert [[item.name for item in queue.take()] for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_also_of_the_neighbours_the_oldest_of_a_length_go_first() -> None:
    queue = batcher(20, 10, 9, 9, 9)
    assert [(item.tokens, item.name) for item in queue.take()] == [(9, 1), (10, 0)]


def test_everything_can_be_taken_at_once() -> None:
    queue = batcher(30, 10, 9, 500, 9)
    assert [item.tokens for item in queue.take_all()] == [9, 9, 10, 500]
    assert (len(queue), queue.due_at(), queue.full, list(queue.take())) == (0, None, False, [])
    queue.add(Item(7))
    assert lengths(queue) == [7]


# -- when it is due


def test_the_oldest_waits_for_company_up_to_max_wait() -> None:
    queue: Batcher[Item] = Batcher(TokenBudget(100), max_wait=2.0)
    queue.add(Item(10, arrived=5.0))
    queue.add(Item(10, arrived=6.0))
    assert queue.due_at() == 7.0


def test_a_full_batch_is_due_at_once() -> None:
    queue: Batcher[Item] = Batcher(TokenBudget(100), max_wait=2.0)
    queue.add(Item(60, arrived=5.0))
    assert (queue.full, queue.due_at()) == (False, 7.0)
    queue.add(Item(40, arrived=6.0))
    assert (queue.full, queue.due_at()) == (True, 5.0)


def test_after_a_batch_left_the_next_one_is_due_by_its_own_oldest() -> None:
    queue: Batcher[Item] = Batcher(TokenBudget(100), max_wait=2.0)
    for tokens, arrived in [(90, 1.0), (10, 2.0), (11, 3.0)]:
        queue.add(Item(tokens, arrived))
    assert queue.full
    queue.take()
    assert (queue.full, queue.due_at()) == (False, 4.0)
    queue.take()
    assert queue.due_at() is None


def test_without_a_wait_everything_is_due_at_its_arrival() -> None:
    assert batcher(100, 10, max_wait=0.0).due_at() == 0.0


# -- for any items in any order

STEPS = st.lists(st.integers(0, 120) | st.just("take"), max_size=80)


@settings(max_examples=150)
@given(STEPS, st.integers(1, 300))
def test_every_item_leaves_once_with_its_neighbours_within_the_budget_the_oldest_first(
    steps: list[int | str], budget: int
) -> None:
    queue: Batcher[Item] = Batcher(TokenBudget(budget), max_wait=1.0)
    waiting: dict[int, Item] = {}
    added = count()

    def take() -> None:
        batch = queue.take()
        assert bool(batch) == bool(waiting)
        if not batch:
            return
        assert batch[0].tokens <= batch[-1].tokens
        assert len(batch) == 1 or max(item.tokens for item in batch) * len(batch) <= budget
        assert next(iter(waiting)) in {item.name for item in batch}
        for item in batch:
            del waiting[item.name]  # KeyError: it left twice
        for left in waiting.values():
            assert not batch[0].tokens < left.tokens < batch[-1].tokens  # neighbours
        all_of_them = [item.tokens for item in [*batch, *waiting.values()]]
        if len(set(all_of_them)) == 1:
            assert not waiting or (len(batch) + 1) * batch[0].tokens > budget  # as many as fit

    for step in steps:
        if isinstance(step, int):
            item = Item(step, float(name := next(added)), name)
            waiting[name] = item
            queue.add(item)
        else:
            take()
        assert len(queue) == len(waiting)
        assert queue.full == (sum(item.tokens for item in waiting.values()) >= budget)
        due = min((item.arrived for item in waiting.values()), default=None)
        assert queue.due_at() == (due if due is None or queue.full else due + 1.0)
    while waiting:
        take()
    assert queue.due_at() is None
