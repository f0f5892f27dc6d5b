"""When too much is suddenly bad: the limits, and the stop that they ask for."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from worker.contract.dead_letter import DeadLetter
from worker.exit_codes import ExitCode
from worker.settings import Settings
from worker.stream.dead_letters.limits import DeadLetterLimits, Exceeded
from worker.stream.dead_letters.stop import DeadLetterStop
from worker.stream.orderly_stop import OrderlyStop


def told(outcomes: Sequence[str | None], **limits: Any) -> list[Exceeded | None]:
    """What the limits say to each outcome; None is a verdict, a word the cause of a dead letter."""
    watch = DeadLetterLimits(**{"consecutive": 0, "share": 0, "window": 1, **limits})
    return [watch.saw_verdicts(1) if outcome is None else watch.saw(outcome) for outcome in outcomes]


def test_more_in_a_row_than_allowed_exceed_the_limit() -> None:
    answers = told(["a", "a", "b", None, "a", "b", "b", "b"], consecutive=3)
    assert answers[:-1] == [None] * 7
    assert answers[-1] == Exceeded("dead_letter_limit_consecutive", 3, 4, 4, (("b", 3), ("a", 1)))


def test_a_larger_share_than_allowed_exceeds_the_limit_once_the_window_is_full() -> None:
    assert told(["a", "a", "a"], share=0.5, window=4) == [None] * 3, "not the whole window yet"
    assert told(["a", "a", None, None], share=0.5, window=4) == [None] * 4, "half is allowed"
    *others, last = told([None, None, "a", "a", None, "b"], share=0.5, window=4)
    assert others == [None] * 5
    assert last == Exceeded("dead_letter_limit_share", 0.5, 3, 4, (("a", 2), ("b", 1)))


def test_zero_sets_no_limit() -> None:
    assert not any(told(["a"] * 5000))


def test_the_sentence_says_how_many_of_what_and_which_limit() -> None:
    exceeded = told(["not_json", "invalid_event", "not_json"], consecutive=2)[-1]
    assert str(exceeded) == (
        "3 of the last 3 outcomes are dead letters (not_json 2, invalid_event 1), more than "
        "dead_letter_limit_consecutive allows (2)"
    )


@given(
    st.lists(st.none() | st.sampled_from("ab"), max_size=60),
    st.integers(0, 8),
    st.sampled_from([0, 0.2, 0.5, 1]),
    st.integers(1, 12),
)
def test_the_limits_are_what_counting_from_the_start_each_time_finds(
    outcomes: list[str | None], consecutive: int, share: float, window: int
) -> None:
    answers = told(outcomes, consecutive=consecutive, share=share, window=window)
    for end, answer in enumerate(answers, 1):
        seen = outcomes[:end]
        run = end - max((at + 1 for at, each in enumerate(seen) if each is None), default=0)
        bad = sum(each is not None for each in seen[-window:])
        in_a_row = bool(consecutive) and run > consecutive
        of_window = bool(share) and end >= window and bad > share * window
        assert (answer is not None) == (in_a_row or of_window)
        if answer is not None:
            assert answer.dead_letters == (run if in_a_row else bad) == sum(count for _, count in answer.causes)


@given(
    st.lists(st.integers(1, 15) | st.sampled_from("ab"), max_size=40),
    st.sampled_from([0, 0.2, 0.5, 1]),
    st.integers(1, 12),
)
def test_verdicts_that_come_together_are_what_they_are_one_by_one(
    outcomes: list[int | str], share: float, window: int
) -> None:
    """A number is so many verdicts."""
    together, single = (DeadLetterLimits(consecutive=3, share=share, window=window) for _ in range(2))
    for outcome in outcomes:
        if isinstance(outcome, str):
            assert together.saw(outcome) == single.saw(outcome)
        else:
            whether = together.saw_verdicts(outcome) is not None
            one_by_one = [single.saw_verdicts(1) for _ in range(outcome)]
            assert whether is any(each is not None for each in one_by_one)
        assert together.in_a_row == single.in_a_row
    assert together.saw("c") == single.saw("c"), "and both remember the same"


# -- the stop ----------------------------------------------------------------------------------------------------------


@dataclass
class Signals:
    """What would have been sent to this process."""

    sent: list[signal.Signals]


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Signals:
    sent: list[signal.Signals] = []
    monkeypatch.setattr(signal, "raise_signal", sent.append)
    return Signals(sent)


def letter(replays: int = 0) -> DeadLetter:
    return DeadLetter(b"k", b"v", [("moderation-replay-count", str(replays).encode())], "not_json")


def test_past_a_limit_the_process_is_asked_to_stop_once(signals: Signals) -> None:
    stop = OrderlyStop()
    letters = DeadLetterStop(Settings.model_validate({"dead_letter_limit_consecutive": 2}), stop)
    for _ in range(2):
        letters.confirmed([letter()])
    assert (stop.asked, stop.code, signals.sent) == (False, ExitCode.OK, [])
    for _ in range(5):  # what was in flight
        letters.confirmed([letter()])
    assert (stop.asked, stop.code, signals.sent) == (True, ExitCode.DEAD_LETTERS, [signal.SIGTERM])
    assert REGISTRY.get_sample_value("moderation_dead_letters_in_a_row") == 7


def test_who_asks_for_a_stop_later_changes_nothing(signals: Signals) -> None:
    stop = OrderlyStop()
    stop.guard_down("llama_guard")
    stop.ask(ExitCode.DEAD_LETTERS, "too many")
    assert (stop.code, signals.sent) == (ExitCode.GUARD_DOWN, [signal.SIGTERM])


def test_what_was_a_dead_letter_before_does_not_count(signals: Signals) -> None:
    stop = OrderlyStop()
    letters = DeadLetterStop(Settings.model_validate({"dead_letter_limit_consecutive": 2}), stop)
    for number in range(50):
        letters.confirmed([letter(replays=1 + number % 3)])
    assert (stop.asked, signals.sent) == (False, [])


def test_a_worker_that_stops_itself_keeps_its_exit_code_where_its_work_is_not_finished_in_time(
    signals: Signals,
) -> None:
    stop = OrderlyStop()
    assert stop.late == ExitCode.DRAIN_DEADLINE
    stop.ask(ExitCode.DEAD_LETTERS, "too many")
    assert (stop.late, len(signals.sent)) == (ExitCode.DEAD_LETTERS, 1)
