"""The bookkeeping of a stress run: lost, twice, late, and answers that overtake their questions."""

from uuid import uuid4

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
    assert report.failures(Thresholds()) == ["1 lost, more than 0"]
    assert report.failures(Thresholds(max_lost=None)) == []
    told = report.failures(Thresholds(max_lost=1, max_duplicated=0, max_p99_ms=250))
    assert told == ["1 duplicated, more than 0", "p99 is 300 ms, more than 250"]
