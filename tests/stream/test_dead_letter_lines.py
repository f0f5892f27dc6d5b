"""Dead letters as lines, and the filters: nothing of a record's content, nothing that a terminal would obey."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers
from worker.contract.stored_letter import StoredLetter
from worker.stream.dead_letters.lines import COLUMNS, described, json_line, printable, text_line
from worker.stream.dead_letters.selection import Selection, iso

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ESCAPE = "\x1b[2J\u202e"


@dataclass(frozen=True)
class AnyRecord:
    topic: str = "chat.events"
    partition: int = 3
    offset: int = 812
    timestamp: int = int(NOON.timestamp() * 1000)
    key: bytes | None = b"key-content"
    value: bytes | None = b'{"text": "value-content", "more": "\xc3\xa4"}'
    headers: Headers = field(default_factory=lambda: (("trace", b"abc"),))


def letter(cause: str = "invalid_event", topic: str = "chat.events") -> StoredLetter:
    dead = DeadLetter.of(AnyRecord(topic=topic), Unjudgeable(cause, f"messages {ESCAPE}: empty", Stage.READ))
    found = StoredLetter.of(AnyRecord("dead", 0, 7, key=dead.key, value=dead.value, headers=dead.headers))
    assert found is not None
    return found


def test_a_line_has_the_place_the_cause_and_the_source_and_no_content() -> None:
    line = text_line(letter())
    assert line.split() == ["0/7", "2026-07-01T12:00:00.000Z", "invalid_event", "read", "0", "58", "chat.events/3/812"]
    assert len(COLUMNS.split()) == len(line.split())
    found = json.loads(json_line(letter()))
    assert (found["partition"], found["offset"], found["cause"], found["replays"]) == (0, 7, "invalid_event", 0)
    assert found["source"] == {
        "topic": "chat.events",
        "partition": 3,
        "offset": 812,
        "timestamp": "2026-07-01T12:00:00.000Z",
    }
    for each in (line, json_line(letter())):
        assert "content" not in each


def test_one_in_full_has_its_headers_and_content_only_on_request() -> None:
    text = "\n".join(described(letter().record, content=False))
    assert "invalid_event: messages " in text and "trace: abc" in text and "key        11 bytes" in text
    assert "content" not in text
    assert "moderation-" not in text
    whole = "\n".join(described(letter().record, content=True))
    assert "key-content" in whole and '  "text": "value-content"' in whole and "ä" in whole


def test_what_is_no_dead_letter_is_shown_as_it_is() -> None:
    text = "\n".join(described(AnyRecord(value=None, key=b"\xff"), content=True))
    assert "without the headers of a dead letter" in text and "value      none" in text and "\\xff" in text


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    assert printable(f"a{ESCAPE}\r\nb ä 😀") == "a\\x1b[2J\\u202e\\r\\nb ä 😀"
    lines = "\n".join(described(letter().record, content=True))
    assert "\x1b" not in lines and "\u202e" not in lines
    assert "\n" not in text_line(letter("not\njson", f"topic{ESCAPE}"))
    assert "\x1b" not in text_line(letter("not\njson", f"topic{ESCAPE}"))


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (Selection(), True),
        (Selection(causes=("not_json", "invalid_event")), True),
        (Selection(causes=("not_json",)), False),
        (Selection(source_topics=("chat.events",)), True),
        (Selection(source_topics=("other",)), False),
        (Selection(since=NOON, until=NOON + timedelta(seconds=1)), True),
        (Selection(since=NOON + timedelta(milliseconds=1)), False),
        (Selection(until=NOON), False),
        (Selection(causes=("invalid_event",), source_topics=("other",)), False),
    ],
)
def test_all_filters_must_hold(selection: Selection, takes: bool) -> None:
    assert selection.takes(letter()) is takes


def test_the_same_filters_are_told_in_the_same_words() -> None:
    assert str(Selection()) == ""
    one, same = Selection(("b", "a", "a"), since=NOON), Selection(("a", "b"), since=NOON.astimezone())
    assert str(one) == str(same) == "--cause a --cause b --since 2026-07-01T12:00:00.000Z"


def test_a_timestamp_that_no_clock_shows_is_a_dash() -> None:
    assert [iso(each) for each in (-1, 1 << 62, 0)] == ["-", "-", "1970-01-01T00:00:00.000Z"]
