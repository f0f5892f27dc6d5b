"""The token budget: halved where memory runs out, back in small steps, and never to and fro each minute."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.batching.token_budget import TokenBudget, padded_tokens


def pass_filled(budget: TokenBudget, most: int) -> Iterator[int]:
    """Judges batches that fill the budget; gives the budget after each."""
    for _ in range(most):
        budget.passed(budget.tokens)
        yield budget.tokens


def batches_until(budget: TokenBudget, tokens: int) -> int:
    """How many filled batches pass until the budget is `tokens` or more."""
    return next(number for number, now in enumerate(pass_filled(budget, 1_000_000), 1) if now >= tokens)


@pytest.mark.parametrize(("lengths", "cost"), [([], 0), ([7], 7), ([3, 10, 5], 30)])
def test_a_batch_costs_its_longest_times_its_rows(lengths: list[int], cost: int) -> None:
    assert padded_tokens(lengths) == cost


def test_an_out_of_memory_takes_the_budget_to_half_of_what_failed() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(15000)
    assert budget.tokens == 7500
    budget.ran_out(4000)
    assert budget.tokens == 2000


def test_of_two_batches_in_the_air_the_second_one_does_not_halve_again() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(15000)
    budget.ran_out(16000)  # it left before the first one came back
    assert budget.tokens == 7500


def test_there_is_a_floor() -> None:
    budget = TokenBudget(16000)
    for _ in range(20):
        budget.ran_out(max(budget.tokens // 3, 2))
    assert budget.tokens == 1000
    assert TokenBudget(1).tokens == 1


def test_filled_batches_that_pass_bring_it_back_in_small_steps() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(16000)
    seen = sorted(set(pass_filled(budget, 10_000)))
    assert (seen[0], seen[-1], budget.tokens) == (8000, 16000, 16000)
    assert all(after <= before * 17 / 16 for before, after in pairwise(seen))


def test_small_batches_prove_nothing() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(16000)
    for _ in range(100_000):
        budget.passed(4000)
    assert budget.tokens == 8000


def test_recovery_takes_thousands_of_batches_not_dozens() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(16000)
    assert 2000 < batches_until(budget, 16000) < 5000


def test_without_an_out_of_memory_the_budget_stays_the_setting() -> None:
    budget = TokenBudget(16000)
    assert set(pass_filled(budget, 10_000)) == {16000}


def test_a_device_with_less_memory_than_the_setting_is_tried_ever_more_rarely() -> None:
    budget, fits = TokenBudget(16000), 12000
    between = []
    for _ in range(8):
        budget.ran_out(budget.tokens)
        between.append(batches_until(budget, fits + 1))
    assert between[:5] == sorted(between[:5])
    assert between[-1] > 20_000
    assert between[-1] < 100_000  # and yet is tried


def test_what_passed_long_enough_at_the_setting_is_forgotten() -> None:
    budget = TokenBudget(16000)
    budget.ran_out(16000)
    first = batches_until(budget, 16000)
    budget.ran_out(16000)
    assert batches_until(budget, 16000) == 2 * first  # at once again: slower
    list(pass_filled(budget, 20_000))
    budget.ran_out(16000)
    assert batches_until(budget, 16000) == first


@settings(max_examples=100)
@given(st.integers(1, 40_000), st.lists(st.tuples(st.booleans(), st.integers(2, 80_000)), max_size=60))
def test_whatever_happens_it_stays_between_the_floor_and_the_setting(
    setting: int, steps: list[tuple[bool, int]]
) -> None:
    budget = TokenBudget(setting)
    for ran_out, tokens in steps:
        (budget.ran_out if ran_out else budget.passed)(tokens)
        assert max(1, setting // 16) <= budget.tokens <= setting
    assert batches_until(budget, setting) < 1_000_000
