"""The bookkeeping of a stress run: lost, twice, late, and answers that overtake their questions."""

from itertools import islice, pairwise
from statistics import stdev
from uuid import uuid4

import pytest

from worker.local.stress import StressOptions, _times
from worker.local.stress_tally import StressTally, Thresholds


def test_every_event_is_answered_lost_late_or_answered_twice() -> None:
    tally = StressTally(late_seconds=0.5)
    quick, slow, twice, lost = (uuid4() for _ in range(4))
    for event in (quick, slow, twice, lost):
        tally.sent(event, 10.0)
    tally.answered(quick, "safe", 10.1)
    tally.answered(slow, "unsafe", 11.0)
    tally.answered(twice, "safe", 10.2)
    tally.answered(twice, "safe", 10.3)
    report = tally.report(2.0)
    assert (report.sent, report.answered, report.lost, report.duplicated, report.late) == (4, 3, 1, 1, 1)
    assert report.outcomes == {"safe": 2, "unsafe": 1}
    assert (report.p50_ms, report.max_ms) == (200.0, 1000.0)
    assert report.sent_per_second == 2.0


def test_an_answer_may_overtake_the_confirmation_of_its_question() -> None:
    tally = StressTally()
    event = uuid4()
    tally.answered(event, "safe", 1.5)
    assert tally.report(1).answered == 0
    tally.sent(event, 1.0)
    assert tally.report(1).p50_ms == 500.0


def test_answers_to_other_peoples_events_are_forgotten_and_never_counted() -> None:
    tally = StressTally()
    for number in range(1000):
        tally.answered(uuid4(), "safe", number / 10)
    tally.forget(200.0)
    assert not tally._early
    assert tally.report(1).answered == 0


def test_thresholds_that_are_not_kept_are_told() -> None:
    tally = StressTally()
    one, other = uuid4(), uuid4()
    tally.sent(one, 0.0)
    tally.sent(other, 0.0)
    assert "nothing was answered" in tally.report(1).failures(Thresholds())[0]
    tally.answered(one, "safe", 0.3)
    tally.answered(one, "safe", 0.4)
    report = tally.report(1)
    assert report.failures(Thresholds()) == [
        "1 without an outcome, more than 0: lost, or waiting still? (--wait, --rate)"
    ]
    assert report.failures(Thresholds(max_lost=None)) == []
    told = report.failures(Thresholds(max_lost=1, max_duplicated=0, max_p99_ms=250))
    assert told == ["1 duplicated, more than 0", "p99 is 300 ms, more than 250"]


def test_an_events_passage_is_known_where_its_answer_says_when_it_was_decided() -> None:
    tally = StressTally()
    early, silent, told = uuid4(), uuid4(), uuid4()
    tally.answered(early, "safe", 3.0, 2.0)
    for event in (early, silent, told):
        tally.sent(event, 1.0)
    tally.answered(silent, "dead_letter", 2.0)
    tally.answered(told, "safe", 1.5, 1.25)
    tally.answered(told, "safe", 9.0, 8.0)
    assert tally.passages == [(1.0, 2.0, 3.0), (1.0, 1.25, 1.5)]


@pytest.mark.parametrize("at_random", [False, True])
def test_events_are_due_at_the_rate(at_random: bool) -> None:
    due = list(islice(_times(StressOptions(200, 60, at_random=at_random)), 20_000))
    assert due == sorted(due)
    assert due[-1] == pytest.approx(100, rel=0.03)
    gaps = [after - before for before, after in pairwise(due)]
    assert stdev(gaps) == pytest.approx(0.005 if at_random else 0, rel=0.05, abs=1e-9), "Poisson, or even"
