"""Dead letters: the record as it came, and the cause in headers that nobody could have forged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.contract.records import CAUSE, StoredRecord
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.headers import RESERVED
from worker.contract.record import header
from worker.contract.schemas import schemas


def test_a_dead_letter_keeps_the_bytes_and_names_cause_and_place() -> None:
    letter = DeadLetter.of(StoredRecord(), CAUSE)
    assert letter.value == b"\xff{"
    assert letter.error_type == "invalid_event"
    assert dict(letter.headers) == {
        "moderation-error-type": b"invalid_event",
        "moderation-error-message": b"messages: must not be empty",
        "moderation-error-stage": b"read",
        "moderation-source-topic": b"chat.events",
        "moderation-source-partition": b"3",
        "moderation-source-offset": b"812",
        "moderation-source-timestamp": b"1700000000000",
        "moderation-replay-count": b"0",
    }


def test_the_headers_are_as_the_schema_says() -> None:
    schema = json.loads(schemas()["dead-letter-headers.schema.json"])
    text = {name: value.decode() for name, value in DeadLetter.of(StoredRecord(), CAUSE).headers if value is not None}
    assert set(text) == set(schema["properties"]) == RESERVED & set(schema["properties"])
    Draft202012Validator(schema).validate(text)


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_a_header(stage: Stage) -> None:
    letter = DeadLetter.of(StoredRecord(), Unjudgeable("x", "y", stage))
    assert header(letter.headers, "moderation-error-stage") == stage.value.encode()


def test_the_original_headers_come_first_in_their_order_and_as_they_were() -> None:
    original = (("b", b"\xff"), ("a", b""), ("b", None), ("traceparent", b"x"))
    assert tuple(DeadLetter.of(StoredRecord(headers=original), CAUSE).headers[:4]) == original


def test_reserved_headers_of_the_record_are_replaced() -> None:
    forged = tuple((name, b"forged") for name in sorted(RESERVED))
    headers = DeadLetter.of(StoredRecord(headers=(*forged, ("own", b"1"), *forged)), CAUSE).headers
    assert all(value != b"forged" for _, value in headers)
    assert len({name for name, _ in headers}) == len(headers)
    assert header(headers, "own") == b"1"


@pytest.mark.parametrize(
    ("came_with", "count"),
    [
        (b"2", b"2"),
        (b"0", b"0"),
        (b"-5", b"0"),
        (b"", b"0"),
        (b"two", b"0"),
        (b"\xff", b"0"),
        (None, b"0"),
        (b"9" * 9000, b"0"),
    ],
)
def test_the_replay_count_is_carried(came_with: bytes | None, count: bytes) -> None:
    record = StoredRecord(headers=(("moderation-replay-count", b"7"), ("moderation-replay-count", came_with)))
    assert header(DeadLetter.of(record, CAUSE).headers, "moderation-replay-count") == count


def test_the_message_is_bounded() -> None:
    letter = DeadLetter.of(StoredRecord(), Unjudgeable("x", "😀" * 5000, Stage.PREPARE))
    message = header(letter.headers, "moderation-error-message")
    assert message == ("😀" * 1000).encode()


def test_a_tombstone_stays_one() -> None:
    assert DeadLetter.of(StoredRecord(value=None), Unjudgeable("tombstone", "no value", Stage.READ)).value is None


def test_a_value_too_large_is_left_out_and_said_so() -> None:
    letter = DeadLetter.of(StoredRecord(headers=(("own", b"1"),)), CAUSE)
    light = letter.smaller()
    assert light.value == b""  # not None: that would be a tombstone
    assert (light.key, light.error_type) == (letter.key, letter.error_type)
    assert list(light.headers) == [*letter.headers, ("moderation-value-left-out", b"true")]


def test_where_key_and_headers_are_too_large_as_well_the_cause_and_the_place_are_left() -> None:
    lightest = DeadLetter.of(StoredRecord(headers=(("own", b"1"),)), CAUSE).smaller().smaller()
    assert (lightest.key, lightest.value) == (None, b"")
    assert {name for name, _ in lightest.headers} == RESERVED
    with pytest.raises(ValueError, match="nothing is left"):
        lightest.smaller()


def test_that_a_value_was_left_out_cannot_be_forged() -> None:
    record = StoredRecord(headers=(("moderation-value-left-out", b"true"),))
    assert header(DeadLetter.of(record, CAUSE).headers, "moderation-value-left-out") is None


@settings(max_examples=50)
@given(
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=8) | st.sampled_from(sorted(RESERVED)), st.none() | st.binary(max_size=8))),
    st.integers(-1, 2**63 - 1),
)
def test_any_record_can_become_a_dead_letter(
    value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    letter = DeadLetter.of(StoredRecord(value=value, headers=headers, timestamp=timestamp), CAUSE)
    assert letter.value == value
    kept = [pair for pair in headers if pair[0] not in RESERVED]
    assert list(letter.headers[: len(kept)]) == kept
    assert {name for name, _ in letter.headers[len(kept) :]} == RESERVED - {"moderation-value-left-out"}


def test_the_last_header_of_a_name_counts() -> None:
    assert header([("a", b"1"), ("b", b"2"), ("a", b"3")], "a") == b"3"
    assert header([("a", b"1"), ("a", None)], "a") is None
    assert header([], "a") is None
