"""Progress: only a finished prefix is committed, and only what need not be finished is given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.stream.progress import Entry, Progress


def owning(*partitions: str) -> Progress[str]:
    progress: Progress[str] = Progress()
    progress.assign(partitions)
    return progress


def taken(progress: Progress[str], *offsets: int, partition: str = "a") -> list[Entry[str]]:
    entries = [progress.take(partition, offset) for offset in offsets]
    assert all(entry is not None for entry in entries)
    return [entry for entry in entries if entry is not None]


def offsets(entries: list[Entry[str]]) -> list[int]:
    return [entry.offset for entry in entries]


# -- the finished prefix


def test_nothing_finished_is_nothing_to_commit() -> None:
    progress = owning("a")
    taken(progress, 5, 6)
    assert progress.to_commit() == {}


def test_the_end_is_the_offset_after_the_finished_prefix() -> None:
    progress = owning("a")
    first, second, third = taken(progress, 5, 6, 9)
    progress.done(second)
    assert progress.to_commit() == {}
    progress.done(first)
    assert progress.to_commit() == {"a": 7}
    progress.done(third)
    assert progress.to_commit() == {"a": 10}


def test_what_was_committed_is_not_committed_again() -> None:
    progress = owning("a", "b")
    progress.done(taken(progress, 5)[0])
    ends = progress.to_commit()
    progress.committed(ends)
    assert progress.to_commit() == {}
    progress.done(taken(progress, 3, partition="b")[0])
    assert progress.to_commit() == {"b": 4}


def test_what_finishes_during_a_commit_is_committed_by_the_next() -> None:
    progress = owning("a")
    first, second = taken(progress, 5, 6)
    progress.done(first)
    ends = progress.to_commit()
    progress.done(second)
    progress.committed(ends)
    assert progress.to_commit() == {"a": 7}


def test_a_commit_that_failed_is_tried_again() -> None:
    progress = owning("a")
    progress.done(taken(progress, 5)[0])
    assert progress.to_commit() == progress.to_commit() == {"a": 6}


def test_finished_records_are_forgotten() -> None:
    progress = owning("a")
    for entry in taken(progress, *range(1000)):
        progress.done(entry)
        assert len(entry.owner.outstanding) == 999 - entry.offset


# -- the position of an idle partition


def test_an_idle_partition_moves_to_the_consumers_position() -> None:
    progress = owning("a")
    assert progress.idle("a")
    progress.moved_to("a", 12)
    assert progress.to_commit() == {"a": 12}


def test_a_position_never_moves_the_end_back() -> None:
    progress = owning("a")
    progress.done(taken(progress, 20)[0])
    progress.moved_to("a", 12)
    assert progress.to_commit() == {"a": 21}


def test_a_partition_with_something_outstanding_is_not_idle() -> None:
    progress = owning("a")
    (entry,) = taken(progress, 5)
    assert not progress.idle("a")
    progress.done(entry)
    assert progress.idle("a")


def test_a_partition_that_is_not_ours_is_not_idle() -> None:
    assert not owning("a").idle("b")


# -- rebalances


def test_of_a_partition_taken_away_nothing_is_committed_and_its_entries_know() -> None:
    progress = owning("a", "b")
    (mine,), (gone,) = taken(progress, 5), taken(progress, 7, partition="b")
    progress.revoke(["b"])
    assert (mine.owner.live, gone.owner.live) == (True, False)
    progress.done(mine)
    progress.done(gone)
    assert progress.to_commit() == {"a": 6}
    assert progress.owned == ("a",)
    assert progress.take("b", 8) is None


def test_a_partition_that_comes_back_begins_anew() -> None:
    progress = owning("a")
    (old,) = taken(progress, 5)
    progress.revoke(["a"])
    progress.assign(["a"])
    (new,) = taken(progress, 5)
    progress.done(old)
    assert progress.to_commit() == {}
    assert (old.owner.live, new.owner.live) == (False, True)
    progress.done(new)
    assert progress.to_commit() == {"a": 6}


def test_an_assignment_replaces_the_one_before() -> None:
    progress = owning("a", "b")
    (kept,) = taken(progress, 5)
    progress.assign(["a", "c"])
    assert progress.owned == ("a", "c")
    assert not kept.owner.live  # reading begins again at what is committed


def test_a_commit_confirmed_after_the_partition_went_is_harmless() -> None:
    progress = owning("a")
    progress.done(taken(progress, 5)[0])
    ends = progress.to_commit()
    progress.revoke(["a"])
    progress.committed(ends)
    assert progress.to_commit() == {}


def test_revoking_what_is_not_ours_is_harmless() -> None:
    progress = owning("a")
    progress.revoke(["b", "a", "a"])
    assert progress.owned == ()


@pytest.mark.parametrize(
    ("started", "done", "given_back"),
    [
        ([], [], [1, 2, 3, 4]),
        ([1], [], [2, 3, 4]),
        ([3], [], [4]),
        ([4], [], []),
        ([], [2], [3, 4]),
        ([1], [3], [4]),
        ([1, 2, 3, 4], [1, 2, 3, 4], []),
    ],
)
def test_only_what_is_behind_the_last_started_record_is_given_back(
    started: list[int], done: list[int], given_back: list[int]
) -> None:
    progress = owning("a", "b")
    entries = {entry.offset: entry for entry in taken(progress, 1, 2, 3, 4)}
    taken(progress, 9, partition="b")
    for offset in started:
        entries[offset].started = True
    for offset in done:
        progress.done(entries[offset])
    assert sorted(offsets(progress.to_give_back(["a"]))) == given_back


def test_what_is_given_back_holds_the_commit_before_it() -> None:
    progress = owning("a")
    first, second, third = taken(progress, 1, 2, 3)
    first.started = second.started = True
    assert offsets(progress.to_give_back(["a", "unknown"])) == [3]
    progress.done(second)
    progress.done(first)
    assert progress.to_commit() == {"a": 3}
    assert third.owner.live


@settings(max_examples=100)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False), st.data())
def test_in_whatever_order_records_finish_the_end_never_passes_an_unfinished_one(
    gaps: list[int], shuffle: "st.random.Random", data: st.DataObject
) -> None:
    progress = owning("a")
    places = [sum(gaps[: position + 1]) for position in range(len(gaps))]  # growing, with holes
    entries = taken(progress, *places)
    finishing = entries.copy()
    shuffle.shuffle(finishing)
    finishing = finishing[: data.draw(st.integers(0, len(entries)))]
    for entry in finishing:
        progress.done(entry)
        end = progress.to_commit().get("a", 0)
        assert all(each.done for each in entries if each.offset < end)
    unfinished = [entry.offset for entry in entries if not entry.done]
    before = [place for place in places if not unfinished or place < unfinished[0]]
    assert progress.to_commit() == ({"a": before[-1] + 1} if before else {})


# -- what costs nothing waits for those before it


def test_it_is_told_when_all_before_it_have_started() -> None:
    told: list[int] = []
    first, second, third = taken(owning("a"), 5, 6, 9)
    third.when_all_before_started(lambda: told.append(9))
    second.started = True
    assert told == []
    first.started = True
    assert told == [9]
    third.started = True
    assert told == [9], "once"


def test_the_first_one_is_told_at_once() -> None:
    told: list[int] = []
    first, second = taken(owning("a"), 5, 6)
    first.when_all_before_started(lambda: told.append(5))
    assert told == [5]
    first.started = True
    second.when_all_before_started(lambda: told.append(6))
    assert told == [5, 6]


def test_partitions_do_not_wait_for_each_other() -> None:
    progress, told = owning("a", "b"), []
    taken(progress, 1, partition="a")
    (other,) = taken(progress, 2, partition="b")
    other.when_all_before_started(lambda: told.append(2))
    assert told == [2]
