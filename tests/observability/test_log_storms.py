"""Log storms: a few lines of each kind in a window, then how many there were. The test holds the clock."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import mode
import pytest
import structlog

from worker.observability.log_storms import LogStorms
from worker.observability.logs import configure_logs


class Rig:
    """Three lines of a kind in ten seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.written: list[str] = []
        self.storms = LogStorms(self._write, most=3, window=10.0, clock=lambda: self.now)

    def _write(self, record: logging.LogRecord) -> None:
        self.written.append(f"{record.levelname} {record.getMessage()}")

    def say(self, template: str, *values: object, name: str = "aiokafka", level: int = logging.WARNING) -> None:
        record = logging.LogRecord(name, level, __file__, 1, template, values, None)
        if self.storms.filter(record):
            self._write(record)


def test_of_a_storm_a_few_lines_are_written_and_then_how_many_there_were() -> None:
    rig = Rig()
    for number in range(1000):
        rig.say("no broker %s", number)
    assert rig.written == [f"WARNING no broker {number}" for number in range(3)]
    rig.now += 9.9
    rig.say("another")
    assert len(rig.written) == 4
    rig.now += 0.1
    rig.say("another")
    assert rig.written[4:] == ["WARNING 997 more like this: no broker %s", "WARNING another"]


def test_a_storm_that_goes_on_is_told_once_a_window() -> None:
    rig = Rig()
    for _ in range(600):  # a minute
        rig.now += 0.1
        rig.say("no broker")
    assert len(rig.written) == 6 * 3 + 5
    rig.storms.close()
    assert len(rig.written) == 6 * 3 + 6


def test_kinds_are_counted_each_for_itself() -> None:
    rig = Rig()
    for _ in range(3):
        rig.say("no broker")
        rig.say("no broker", level=logging.ERROR)
        rig.say("no broker", name="aiokafka.client")
        rig.say("no leader")
    assert len(rig.written) == 12


def test_the_last_window_is_told_at_the_end_and_only_what_was_held_back() -> None:
    rig = Rig()
    for _ in range(5):
        rig.say("no broker")
    rig.say("another")
    rig.storms.close()
    assert rig.written[4:] == ["WARNING 2 more like this: no broker"]
    rig.storms.close()
    assert len(rig.written) == 5


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_what_the_stream_tells_of_the_workers_life_always_passes(level: int) -> None:
    rig = Rig()
    for _ in range(50):
        rig.say("crashed", name="worker.stream.pipeline", level=level)
    assert len(rig.written) == 50
    for _ in range(50):
        rig.say("check_failed", name="worker.guards.runner", level=level)
        rig.say("outcome too large to publish", name="worker.stream.publisher")
    assert len(rig.written) == 56


def test_a_thousand_kinds_are_kept_apart_and_no_more() -> None:
    rig = Rig()
    for number in range(3000):
        rig.say(f"kind {number}")
    assert len(rig.written) == 3000
    rig.now += 10
    for _ in range(9):
        rig.say("kind 1")
    assert len(rig.written) == 3003


@contextmanager
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error, for logs that are configured in the block; afterwards they are as before."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_the_workers_logs_have_it_and_values_do_not_make_a_line_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as stream:
        configure_logs("json")
        for number in range(200):
            structlog.get_logger("worker.guards.runner").warning("batch_halved", checks=number)
            logging.getLogger("aiokafka.client").error("Unable connect to node with id %s", number)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines[:2]] == ["batch_halved", "Unable connect to node with id 0"]
    assert len(lines) == 10


@pytest.mark.parametrize(("level", "told"), [("info", ["it fell"]), ("debug", ["Starting...", "it fell"])])
async def test_the_steps_of_fausts_services_are_told_to_whoever_debugs(
    level: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ours(mode.Service):  # type: ignore[misc]
        """It logs under the name of its own module."""

    with written(monkeypatch) as stream:
        configure_logs("json", level)
        service = Ours()
        service.log.info("Starting...")
        service.log.error("it fell")
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert [event.partition("]: ")[2] for event in events] == told
