"""The verdict cache: never larger than allowed, the least recently used leave first, review never stays."""

import gc
import os
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract.verdict import Coverage, Label, Reason
from worker.guards.guard import Fault
from worker.moderation.decision import Decision
from worker.moderation.verdict_cache import Judgement, VerdictCache
from worker.policy.taxonomy import CATEGORY_KEYS

MiB = 1 << 20


def judgement(label: Label = Label.SAFE, *reasons: Reason, categories: int = 0) -> Judgement:
    """With objects of its own, as findings make them."""
    scores = {"".join(list(key)): random.random() for key in CATEGORY_KEYS[:categories]}
    coverage = Coverage(llama_guard_windows=1, prompt_guard_windows=1, turns_dropped=1000)
    return Judgement(Decision(label, reasons, tuple(scores), False, random.random(), random.random(), scores), coverage)


def size_of(one: Judgement) -> int:
    """Bytes that it takes in a cache."""
    cache = VerdictCache(MiB)
    cache.put(key(0), one)
    return cache.bytes


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_put_in_comes_out() -> None:
    cache = VerdictCache(MiB)
    one, other = judgement(), judgement(Label.UNSAFE, Reason.LLAMA_GUARD, categories=1)
    cache.put(key(1), one)
    cache.put(key(2), other)
    assert (cache.get(key(1)), cache.get(key(2)), cache.get(key(3))) == (one, other, None)
    assert len(cache) == 2


@given(
    label=st.sampled_from([Label.SAFE, Label.UNSAFE]),
    attack=st.booleans(),
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    categories=st.dictionaries(st.sampled_from(CATEGORY_KEYS), st.floats(0, 1)),
    reasons=st.lists(st.sampled_from([Reason.LLAMA_GUARD, Reason.PROMPT_GUARD, Reason.INCOMPLETE_COVERAGE])),
    coverage=st.builds(Coverage, images=st.integers(0, 99), turns_dropped=st.integers(0, 9999), complete=st.booleans()),
)
def test_nothing_of_a_judgement_is_lost(
    label: Label,
    attack: bool,
    scores: list[float],
    categories: dict[str, float],
    reasons: list[Reason],
    coverage: Coverage,
) -> None:
    decision = Decision(label, tuple(reasons), tuple(categories), attack, *scores, categories)
    cache = VerdictCache(MiB)
    cache.put(key(1), Judgement(decision, coverage))
    assert cache.get(key(1)) == Judgement(decision, coverage)
    cache.put(key(2), Judgement(Decision(Label.SAFE), coverage))
    assert cache.get(key(2)) == Judgement(Decision(Label.SAFE), coverage)


def test_many_entries_never_take_more_than_allowed() -> None:
    cache = VerdictCache(100_000)
    for number in range(5000):
        cache.put(key(number), judgement(categories=number % 15))
        assert cache.bytes <= 100_000
    assert 100 < len(cache) < 400
    assert cache.bytes > 99_000, "there is room for more"
    kept = [number for number in range(5000) if cache.get(key(number))]
    assert kept == list(range(5000 - len(cache), 5000))


def test_the_least_recently_used_leaves_first() -> None:
    cache = VerdictCache(3 * size_of(judgement()))
    for number in range(3):
        cache.put(key(number), judgement())
    assert cache.get(key(0))
    cache.put(key(3), judgement())
    assert [number for number in range(4) if cache.get(key(number))] == [0, 2, 3]


def test_a_judgement_put_again_is_counted_once() -> None:
    cache = VerdictCache(MiB)
    cache.put(key(1), judgement(categories=14))
    cache.put(key(2), judgement())
    small = judgement()
    cache.put(key(1), small)
    assert (len(cache), cache.get(key(1))) == (2, small)
    before = cache.bytes
    cache.put(key(1), small)
    assert (len(cache), cache.bytes) == (2, before)
    assert before == 2 * size_of(small), "the larger one is no longer counted"


def test_what_is_larger_than_the_whole_cache_drives_nobody_out() -> None:
    cache = VerdictCache(size_of(judgement()))
    cache.put(key(1), judgement())
    cache.put(key(2), judgement(Label.UNSAFE, Reason.LLAMA_GUARD, categories=14))
    assert (len(cache), cache.get(key(2))) == (1, None)
    assert cache.get(key(1))


@pytest.mark.parametrize("categories", [0, 1, 2, 6, 14])
@pytest.mark.parametrize("count", [1000, 5500, 11_000])  # in the middle of the dictionary's growth, and just after it
def test_the_bytes_are_those_that_the_entries_take(categories: int, count: int) -> None:
    random.seed(0)
    cache = VerdictCache(1 << 40)
    label, *reasons = (Label.UNSAFE, Reason.LLAMA_GUARD, Reason.PROMPT_GUARD) if categories else (Label.SAFE,)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(count):
        cache.put(os.urandom(32), judgement(label, *reasons, categories=categories))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 <= cache.bytes - (after - before) <= 80 * count, "counted a little too high, never too low"


@pytest.mark.parametrize("reason", [Reason.AMBIGUOUS, Reason.INCOMPLETE_COVERAGE, Reason.PROMPT_GUARD])
def test_review_is_never_kept(reason: Reason) -> None:
    cache = VerdictCache(MiB)
    cache.put(key(1), judgement(Label.REVIEW, reason))
    assert (len(cache), cache.bytes) == (0, 0)


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("fault", list(Fault))
def test_what_a_fault_had_a_part_in_is_never_kept(label: Label, fault: Fault) -> None:
    cache = VerdictCache(MiB)
    cache.put(key(1), judgement(label, Reason.LLAMA_GUARD, Reason(fault.value), categories=1))
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("label", "reasons"),
    [
        (Label.SAFE, []),
        (Label.SAFE, [Reason.EXCLUDED_ONLY]),
        (Label.UNSAFE, [Reason.LLAMA_GUARD, Reason.INCOMPLETE_COVERAGE]),
        (Label.UNSAFE, [Reason.PROMPT_GUARD]),
    ],
)
def test_what_content_and_policy_alone_led_to_is_kept(label: Label, reasons: list[Reason]) -> None:
    cache = VerdictCache(MiB)
    cache.put(key(1), judgement(label, *reasons))
    assert len(cache) == 1
