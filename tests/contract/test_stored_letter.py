"""Dead letters read back: what `DeadLetter.of` wrote, and what others wrote."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.records import CAUSE, StoredRecord
from worker.contract.dead_letter import DeadLetter
from worker.contract.headers import RESERVED
from worker.contract.record import header
from worker.contract.stored_letter import StoredLetter


def stored(letter: DeadLetter) -> StoredRecord:
    """The dead letter in its topic."""
    return StoredRecord("dead-letters", 0, 7, 1_800_000_000_000, letter.key, letter.value, letter.headers)


def test_a_dead_letter_tells_where_it_came_from_and_why() -> None:
    letter = StoredLetter.of(stored(DeadLetter.of(StoredRecord(headers=(("own", b"1"),)), CAUSE)))
    assert letter is not None
    assert (letter.told.error_type, letter.told.error_stage) == ("invalid_event", "read")
    assert (letter.told.source_topic, letter.source_partition, letter.source_offset) == ("chat.events", 3, 812)
    assert (letter.source_timestamp, letter.replays) == (1_700_000_000_000, 0)
    assert (letter.original_headers, letter.size, letter.has_original) == ([("own", b"1")], 1 + 2 + 4, True)


def test_one_whose_value_was_left_out_says_so() -> None:
    letter = StoredLetter.of(stored(DeadLetter.of(StoredRecord(), CAUSE).smaller()))
    assert letter is not None and not letter.has_original


@pytest.mark.parametrize("name", sorted(RESERVED - {"moderation-value-left-out", "moderation-replay-count"}))
def test_without_one_of_the_headers_somebody_else_wrote_it(name: str) -> None:
    headers = DeadLetter.of(StoredRecord(), CAUSE).headers
    assert StoredLetter.of(StoredRecord(headers=[each for each in headers if each[0] != name])) is None
    assert StoredLetter.of(StoredRecord(headers=[*headers, (name, b"\xff")])) is None


@pytest.mark.parametrize("name", ["source-partition", "source-offset", "source-timestamp", "replay-count"])
@pytest.mark.parametrize("value", [b"", b"\xff", b"1x", b"9" * 9000])
def test_a_number_that_is_none_is_no_header_of_ours(name: str, value: bytes) -> None:
    headers = [*DeadLetter.of(StoredRecord(), CAUSE).headers, (f"moderation-{name}", value)]
    assert StoredLetter.of(StoredRecord(headers=headers)) is None


def test_without_a_replay_count_it_was_never_replayed() -> None:
    headers = [each for each in DeadLetter.of(StoredRecord(), CAUSE).headers if each[0] != "moderation-replay-count"]
    letter = StoredLetter.of(StoredRecord(headers=headers))
    assert letter is not None and letter.replays == 0
    assert StoredLetter.of(StoredRecord(headers=[*headers, ("moderation-replay-count", b"-1")])) is None


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.text(max_size=8) | st.sampled_from(sorted(RESERVED)), st.none() | st.binary(max_size=8))),
    st.integers(0, 5),
)
def test_each_replay_is_counted_and_nothing_else_changes(headers: list[tuple[str, bytes | None]], rounds: int) -> None:
    own = [each for each in headers if each[0] not in RESERVED]
    record = StoredRecord(headers=own)
    for number in range(rounds):
        letter = StoredLetter.of(stored(DeadLetter.of(record, CAUSE)))
        assert letter is not None and letter.replays == number
        record = StoredRecord(key=letter.record.key, value=letter.record.value, headers=letter.headers_to_replay())
        assert (record.key, record.value) == (b"k", b"\xff{")
        assert list(record.headers[:-1]) == own
        assert header(record.headers, "moderation-replay-count") == str(number + 1).encode()
