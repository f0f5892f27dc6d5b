"""What the workers' logs say, and which of their errors are explained."""

import json

import pytest

from tests.chaos.ledger import Kill
from tests.chaos.logs import Excuses, parse, unexplained

AT = "2026-11-22T10:00:00.5Z"
SECONDS = 1795341600.5
KILL = Kill("SIGKILL of worker-1", SECONDS - 5, SECONDS - 4, frozenset({1}))
OUTAGE = Kill("broker", SECONDS - 1, SECONDS + 1)


def line(event: str, level: str = "error", logger: str = "worker.stream.poison.isolation", **fields: object) -> str:
    """A line of the log."""
    return json.dumps({"event": event, "level": level, "logger": logger, "timestamp": AT, **fields})


def told(*lines: str, excuses: Excuses = Excuses((), (), ())) -> list[str]:  # noqa: B008  # it is immutable
    """The unexplained ones."""
    return [each.event for each in unexplained([parse("worker-1", lines)], excuses)]


def test_what_a_log_tells() -> None:
    assigned = [line("partitions assigned", "info", partitions=each) for each in ([1, 2, 3], [2])]
    log = parse("worker-1", [*assigned, line("crashed"), "the fake guard kills the worker: poison-7"])
    assert (log.worker, log.assigned, log.poison) == ("worker-1", frozenset({2}), "poison-7")
    assert log.assigned_at == SECONDS
    assert [(each.event, each.at) for each in log.errors] == [("crashed", SECONDS)]


def test_warnings_and_less_need_no_excuse() -> None:
    assert told(line("tried again", "warning"), line("hello", "info"), "") == []


@pytest.mark.parametrize("text", [line("crashed"), "Traceback (most recent call last):", line("x", "critical")])
def test_nothing_explains_a_crash_or_a_traceback(text: str) -> None:
    everything = Excuses([KILL], [OUTAGE], [(0, 0)])
    assert len(told(text, excuses=everything)) == 1


def test_a_condemned_record_must_be_one_that_kills() -> None:
    text = line("killed_the_worker", partition=3, offset=7, kills=3)
    assert told(text, excuses=Excuses([KILL], (), {(3, 7)})) == []
    assert told(text, excuses=Excuses([KILL], (), {(3, 8)})) == ["killed_the_worker"]


def test_a_found_kill_needs_a_kill_before() -> None:
    text = line("the worker was killed while it judged one record", partition=3, offset=7, kills=2)
    assert told(text, excuses=Excuses([KILL], (), ())) == []
    later = Kill("SIGKILL", SECONDS + 1, SECONDS + 2, None)
    assert len(told(text, excuses=Excuses([later], (), ()))) == 1


def test_kafka_may_complain_while_the_broker_is_away() -> None:
    text = line("Unable connect to node with id 1", logger="aiokafka")
    task = line("Task exception was never retrieved ... defined at aiokafka/consumer.py", logger="asyncio")
    assert told(text, task, excuses=Excuses((), [OUTAGE], ())) == []
    earlier = Kill("broker", SECONDS - 9, SECONDS - 8)
    assert len(told(text, task, excuses=Excuses((), [earlier], ()))) == 2
    assert len(told(line("Task exception was never retrieved: ... KeyError", logger="asyncio"))) == 1


def test_a_sum_of_lines_is_told_later_than_they_were() -> None:
    text = line("812 more like this: Unable connect to node with id %s: %s", logger="aiokafka")
    earlier = Kill("broker", SECONDS - 99, SECONDS - 90)
    assert told(text, excuses=Excuses((), [earlier], ())) == []
    assert len(told(text)) == 1
    assert told(line("31 more like this: check_failed", logger="worker.guards.runner")) == []


def test_injected_faults_are_told() -> None:
    assert told(line("check_too_large", guard="llama_guard"), line("check_failed", guard="llama_guard")) == []
