"""Reading anything at all: an event or a refusal, and never a refusal that quotes content."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.events import CANARY, document, refused, saying
from worker.contract.chat_event import read_chat_event
from worker.contract.errors import Unjudgeable

fuzz = settings(max_examples=60)


CONTENT = st.sampled_from(
    [CANARY, [CANARY], {CANARY: CANARY}, {"type": CANARY}, [{"type": CANARY}], [{"type": "text", CANARY: 1}]]
) | st.sampled_from([[{"type": "image", "data": [CANARY]}], [{"type": "image_url", "image_url": CANARY}], 5, None])


@fuzz
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("event_id", "conversation_id", "tenant", "policy", "occurred_at", "metadata", "messages", CANARY), CONTENT
        ),
    ),
    CONTENT,
    CONTENT,
    st.sampled_from(["", CANARY, "}", '"', "\\", "\x01"]),
    st.integers(0, 400),
)
def test_no_message_ever_repeats_content(
    fields: dict[str, Any], role: Any, content: Any, junk: str, cut_at: int
) -> None:
    event = {**document(messages=[{"role": role, "content": content}, CANARY, [CANARY]]), **fields}
    text = json.dumps(event)
    for value in (text, text + junk, text[:cut_at], text[:cut_at] + junk + text[cut_at:]):
        try:
            read_chat_event(value.encode())
        except Unjudgeable as cause:
            assert CANARY not in cause.message
            assert len(cause.message) < 1000


@pytest.mark.parametrize("spoiled", [b"\xff", b"\xed\xa0\xbd", b"\x00", b"\\q", b"\\ud83d,"])
def test_bytes_around_a_fault_are_not_quoted(spoiled: bytes) -> None:
    value = b'{"event_id": "' + CANARY.encode() + spoiled + CANARY.encode() + b'"'
    assert CANARY not in refused(value).message


# -- nothing but Unjudgeable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELD = JSON | st.sampled_from(["user", "text", "image", "image_url", [], {}, "2026-05-01T12:00:00Z"])
PART = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "text", "data", "url", "image_url"), FIELD))
MESSAGE = st.fixed_dictionaries({}, optional={"role": FIELD, "content": FIELD | st.lists(PART | FIELD, max_size=2)})
EVENT = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("event_id", "conversation_id", "tenant", "policy", "occurred_at", "metadata"), FIELD),
        "messages": FIELD | st.lists(MESSAGE | FIELD, max_size=2),
    },
)


def read_or_refuse(value: bytes) -> None:
    try:
        event = read_chat_event(value)
    except Unjudgeable as cause:
        assert cause.error_type in {"tombstone", "not_utf8", "not_json", "too_deep", "invalid_event"}
        assert cause.message
    else:
        assert event.messages


@fuzz
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused(value: bytes) -> None:
    read_or_refuse(value)


@fuzz
@given(st.text(alphabet='{}[]",:\\ud83ede0019truefalsn .-', max_size=60))
def test_almost_json_is_read_or_refused(value: str) -> None:
    read_or_refuse(value.encode())


@fuzz
@given(JSON | EVENT)
def test_arbitrary_json_is_read_or_refused(value: Any) -> None:
    read_or_refuse(json.dumps(value).encode())
    read_or_refuse(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@fuzz
@given(st.text(), st.sampled_from([True, False]))
def test_text_comes_out_as_it_went_in(text: str, ascii_only: bool) -> None:
    value = json.dumps(saying(text), ensure_ascii=ascii_only).encode()
    assert read_chat_event(value).messages[0].text == text
