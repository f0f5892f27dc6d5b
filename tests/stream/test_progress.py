"""Progress: only a finished prefix is committed, and only what need not be finished is given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.works import taken
from worker.stream.progress import Progress
from worker.stream.work import Work


def owning(*partitions: str) -> Progress[str]:
    progress: Progress[str] = Progress()
    progress.assign(partitions)
    return progress


def offsets(works: list[Work]) -> list[int]:
    return [work.offset for work in works]


# -- the finished prefix


def test_nothing_finished_is_nothing_to_commit() -> None:
    progress = owning("a")
    taken(progress, "a", 5, 6)
    assert progress.to_commit() == {}


def test_the_end_is_the_offset_after_the_finished_prefix() -> None:
    progress = owning("a")
    first, second, third = taken(progress, "a", 5, 6, 9)
    progress.done([second])
    assert progress.to_commit() == {}
    progress.done([first])
    assert progress.to_commit() == {"a": 7}
    progress.done([third])
    assert progress.to_commit() == {"a": 10}


def test_what_was_committed_is_not_committed_again() -> None:
    progress = owning("a", "b")
    progress.done(taken(progress, "a", 5))
    ends = progress.to_commit()
    progress.committed(ends)
    assert progress.to_commit() == {}
    progress.done([taken(progress, "b", 3)[0]])
    assert progress.to_commit() == {"b": 4}


def test_what_finishes_during_a_commit_is_committed_by_the_next() -> None:
    progress = owning("a")
    first, second = taken(progress, "a", 5, 6)
    progress.done([first])
    ends = progress.to_commit()
    progress.done([second])
    progress.committed(ends)
    assert progress.to_commit() == {"a": 7}


def test_a_commit_that_failed_is_tried_again() -> None:
    progress = owning("a")
    progress.done(taken(progress, "a", 5))
    assert progress.to_commit() == progress.to_commit() == {"a": 6}


def test_finished_records_are_forgotten() -> None:
    progress = owning("a")
    owner = progress.of("a")
    assert owner is not None
    for work in taken(progress, "a", *range(1000)):
        progress.done([work])
        assert len(owner.outstanding) == 999 - work.offset


def test_what_finishes_together_is_finished_together() -> None:
    progress = owning("a", "b")
    first, second, third = taken(progress, "a", 5, 6, 7)
    other = taken(progress, "b", 1)
    progress.done([third, *other, first])
    assert progress.to_commit() == {"a": 6, "b": 2}
    progress.done([second])
    assert progress.to_commit() == {"a": 8, "b": 2}


# -- the position of an idle partition


def test_an_idle_partition_moves_to_the_consumers_position() -> None:
    progress = owning("a")
    assert progress.idle("a")
    progress.moved_to("a", 12)
    assert progress.to_commit() == {"a": 12}


def test_a_position_never_moves_the_end_back() -> None:
    progress = owning("a")
    progress.done([taken(progress, "a", 20)[0]])
    progress.moved_to("a", 12)
    assert progress.to_commit() == {"a": 21}


def test_a_partition_with_something_outstanding_is_not_idle() -> None:
    progress = owning("a")
    (entry,) = taken(progress, "a", 5)
    assert not progress.idle("a")
    progress.done([entry])
    assert progress.idle("a")


def test_a_partition_that_is_not_ours_is_not_idle() -> None:
    assert not owning("a").idle("b")


# -- rebalances


def test_of_a_partition_taken_away_nothing_is_committed_and_its_entries_know() -> None:
    progress = owning("a", "b")
    (mine,), (gone,) = taken(progress, "a", 5), taken(progress, "b", 7)
    progress.revoke(["b"])
    assert (mine.owner.live, gone.owner.live) == (True, False)
    progress.done([mine])
    progress.done([gone])
    assert progress.to_commit() == {"a": 6}
    assert progress.owned == ("a",)
    assert progress.of("b") is None


def test_a_partition_that_comes_back_begins_anew() -> None:
    progress = owning("a")
    (old,) = taken(progress, "a", 5)
    progress.revoke(["a"])
    progress.assign(["a"])
    (new,) = taken(progress, "a", 5)
    progress.done([old])
    assert progress.to_commit() == {}
    assert (old.owner.live, new.owner.live) == (False, True)
    progress.done([new])
    assert progress.to_commit() == {"a": 6}


def test_an_assignment_replaces_the_one_before() -> None:
    progress = owning("a", "b")
    (kept,) = taken(progress, "a", 5)
    progress.assign(["a", "c"])
    assert progress.owned == ("a", "c")
    assert not kept.owner.live  # reading begins again at what is committed


def test_a_commit_confirmed_after_the_partition_went_is_harmless() -> None:
    progress = owning("a")
    progress.done(taken(progress, "a", 5))
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
    entries = {entry.offset: entry for entry in taken(progress, "a", 1, 2, 3, 4)}
    taken(progress, "b", 9)
    for offset in started:
        entries[offset].started = True
    for offset in done:
        progress.done([entries[offset]])
    assert sorted(offsets(progress.to_give_back(["a"]))) == given_back


def test_what_is_given_back_holds_the_commit_before_it() -> None:
    progress = owning("a")
    first, second, third = taken(progress, "a", 1, 2, 3)
    first.started = second.started = True
    assert offsets(progress.to_give_back(["a", "unknown"])) == [3]
    progress.done([second])
    progress.done([first])
    assert progress.to_commit() == {"a": 3}
    assert third.owner.live


@settings(max_examples=100)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False), st.data())
def test_in_whatever_order_records_finish_the_end_never_passes_an_unfinished_one(
    gaps: list[int], shuffle: "st.random.Random", data: st.DataObject
) -> None:
    progress = owning("a")
    places = [sum(gaps[: position + 1]) for position in range(len(gaps))]  # growing, with holes
    entries = taken(progress, "a", *places)
    finishing = entries.copy()
    shuffle.shuffle(finishing)
    finishing = finishing[: data.draw(st.integers(0, len(entries)))]
    for entry in finishing:
        progress.done([entry])
        end = progress.to_commit().get("a", 0)
        assert all(each.done for each in entries if each.offset < end)
    unfinished = [entry.offset for entry in entries if not entry.done]
    before = [place for place in places if not unfinished or place < unfinished[0]]
    assert progress.to_commit() == ({"a": before[-1] + 1} if before else {})


# -- what costs nothing waits for those before it


def test_it_starts_when_all_before_it_have() -> None:
    progress = owning("a")
    first, second, third, fourth = taken(progress, "a", 5, 6, 9, 10)
    owner = first.owner
    third.waits_for_start = True
    second.started = True
    assert owner.starting() == []
    first.started = True
    assert owner.starting() == [third]
    assert third.started
    fourth.started = True
    assert owner.starting() == [], "once"


def test_the_first_one_starts_at_once_and_all_that_wait_right_behind_it() -> None:
    first, second, third = taken(owning("a"), "a", 5, 6, 7)
    for work in (third, second):
        work.waits_for_start = True
        assert work.owner.starting() == []
    first.waits_for_start = True
    assert first.owner.starting() == [first, second, third]


def test_partitions_do_not_wait_for_each_other() -> None:
    progress = owning("a", "b")
    taken(progress, "a", 1)
    (other,) = taken(progress, "b", 2)
    other.waits_for_start = True
    assert other.owner.starting() == [other]
