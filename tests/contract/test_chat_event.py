"""Reading chat events: every form is understood, every fault is named, and content never gets into a message."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tests.contract.events import document, read, refused, saying
from worker.contract.chat_event import ImagePart, ImageUrlPart, TextPart, read_chat_event

# -- what is understood


def test_the_least_an_event_needs() -> None:
    event = read(document())
    assert (event.event_id, event.conversation_id) == ("e1", "c1")
    assert [(message.role, message.text) for message in event.messages] == [("user", "hi")]
    assert (event.tenant, event.policy, event.occurred_at, event.metadata) == (None, None, None, {})


def test_all_that_an_event_may_have() -> None:
    event = read(
        document(
            tenant="acme", policy="strict", occurred_at="2026-05-01T12:00:00Z", metadata={"channel": {"id": 7, "x": []}}
        )
    )
    assert (event.tenant, event.policy) == ("acme", "strict")
    assert event.occurred_at == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert event.metadata == {"channel": {"id": 7, "x": []}}


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
def test_every_role(role: str) -> None:
    assert read(saying("hi", role)).messages[0].role == role


@pytest.mark.parametrize(
    ("part", "read_as"),
    [
        ({"type": "text", "text": "a"}, TextPart(type="text", text="a")),
        ({"type": "image", "data": "aGk="}, ImagePart(type="image", data="aGk=")),
        ({"type": "image", "url": "https://host/x.png"}, ImagePart(type="image", url="https://host/x.png")),
        (
            {"type": "image", "url": "data:image/png;base64,aGk="},
            ImagePart(type="image", url="data:image/png;base64,aGk="),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            ImageUrlPart.model_validate({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}),
        ),
    ],
)
def test_every_form_of_a_part(part: dict[str, Any], read_as: object) -> None:
    assert read(saying([part])).messages[0].content == (read_as,)


def test_text_and_images_of_mixed_parts_keep_their_order() -> None:
    first, second = {"type": "image", "data": "Zmlyc3Q="}, {"type": "image_url", "image_url": {"url": "data:,second"}}
    message = read(saying([first, {"type": "text", "text": "a"}, second, {"type": "text", "text": "b"}])).messages[0]
    assert message.text == "a\nb"
    assert [type(image) for image in message.images] == [ImagePart, ImageUrlPart]


def test_a_string_has_no_images() -> None:
    assert read(saying("hi")).messages[0].images == ()


def test_empty_text_is_an_event() -> None:
    assert read(saying("")).messages[0].text == ""


def test_unknown_keys_are_passed_over_at_every_level() -> None:
    extra = {"from_the_future": [1, {"a": None}]}
    part = {"type": "text", "text": "hi", **extra}
    event = read(document(messages=[{"role": "user", "content": [part], **extra}], **extra))
    assert event.messages[0].text == "hi"


def test_an_event_cannot_be_changed() -> None:
    event = read(document())
    with pytest.raises(ValidationError):
        event.event_id = "other"  # type: ignore[misc]


# -- JSON at its borders


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"a \ud83d b", "a \ufffd b"),
        (r"a \ude00 b", "a \ufffd b"),
        (r"\ud83d", "\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d and a whole \ud83d\ude00", "\ufffd and a whole 😀"),
    ],
)
def test_half_a_surrogate_pair_is_read_as_the_replacement_character(escaped: str, text: str) -> None:
    value = json.dumps(saying("HERE")).replace("HERE", escaped).encode()
    assert read_chat_event(value).messages[0].text == text


def test_half_a_surrogate_pair_in_an_id_is_replaced_too() -> None:
    value = json.dumps(document(event_id="HERE")).replace("HERE", r"id\ud83d").encode()
    assert read_chat_event(value).event_id == "id\ufffd"


@pytest.mark.parametrize("number", ["9" * 40, "-" + "9" * 40, "1e300", "1.5"])
def test_huge_numbers_in_metadata_are_read(number: str) -> None:
    value = json.dumps(document(metadata={"n": 0})).replace('"n": 0', f'"n": {number}').encode()
    assert read_chat_event(value).metadata["n"] == float(number)


def test_the_last_of_duplicate_keys_counts() -> None:
    value = json.dumps(document()).replace('"event_id": "e1"', '"event_id": "e1", "event_id": "e2"').encode()
    assert read_chat_event(value).event_id == "e2"


def nested(levels: int, opening: str, closing: str) -> bytes:
    value = opening * levels + "1" + closing * levels
    return json.dumps(document(metadata={"deep": 0})).replace('"deep": 0', f'"deep": {value}').encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("levels", [201, 500, 1100, 100_000])
def test_deep_nesting_is_refused_at_any_depth(levels: int, opening: str, closing: str) -> None:
    assert refused(nested(levels, opening, closing)).error_type == "too_deep"


def test_deep_nesting_behind_half_a_surrogate_pair_is_refused() -> None:
    value = rb'{"a": "\ud83d", "b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refused(value).error_type in {"not_json", "too_deep"}


def test_nesting_within_reason_is_read() -> None:
    assert read_chat_event(nested(150, "[", "]")).metadata["deep"]


def test_many_shallow_containers_are_not_deep() -> None:
    assert len(read(document(metadata={"many": [[]] * 5000})).metadata["many"]) == 5000


@pytest.mark.parametrize(
    ("value", "error_type"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"  ", "not_json"),
        (b"{", "not_json"),
        (b"{} trailing", "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'\xef\xbb\xbf{"event_id": "e1"}', "not_json"),
        (json.dumps(document(metadata={"n": float("nan")})).encode(), "not_json"),
        (json.dumps(document(metadata={"n": float("inf")})).encode(), "not_json"),
        (json.dumps(document()).replace("hi", r"\ud83d").replace("}", ",}").encode(), "not_json"),
        (json.dumps(saying("HERE", role=float("nan"))).replace("HERE", r"\ud83d").encode(), "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (json.dumps(document()).encode("utf-16"), "not_utf8"),
        (json.dumps(document()).encode().replace(b"hi", "é".encode("latin-1")), "not_utf8"),
        (b'{"a": "\xed\xa0\xbd"}', "not_utf8"),
        (b"null", "invalid_event"),
        (b"[]", "invalid_event"),
        (b"1", "invalid_event"),
        (b'"text"', "invalid_event"),
        (b"{}", "invalid_event"),
    ],
    ids=repr,
)
def test_what_is_no_event_has_its_own_error_type(value: bytes | None, error_type: str) -> None:
    assert refused(value).error_type == error_type


def test_a_byte_order_mark_is_named() -> None:
    assert "byte order mark" in refused(b"\xef\xbb\xbf{}").message


# -- faults of fields


@pytest.mark.parametrize(
    ("event", "place", "fault"),
    [
        (document(event_id=None), "event_id", "required"),
        (document(event_id=""), "event_id", "at least 1 character"),
        (document(event_id="x" * 513), "event_id", "at most 512 characters"),
        (document(event_id=5), "event_id", "string"),
        (document(conversation_id=None), "conversation_id", "required"),
        (document(tenant=""), "tenant", "at least 1 character"),
        (document(policy=5), "policy", "string"),
        (document(occurred_at="soon"), "occurred_at", "datetime"),
        (document(occurred_at=[]), "occurred_at", "datetime"),
        (document(occurred_at=1e300), "occurred_at", "datetime"),
        (document(metadata=[]), "metadata", "dictionary"),
        (document(messages=None), "messages", "required"),
        (document(messages=[]), "messages", "must not be empty"),
        (document(messages="hi"), "messages", "tuple"),
        (document(messages=["hi"]), "messages.0", "dictionary"),
        (document(messages=[{"content": "hi"}]), "messages.0.role", "required"),
        (document(messages=[{"role": "user"}]), "messages.0.content", "required"),
        (saying("hi", role="moderator"), "messages.0.role", "'user', 'assistant', 'tool' or 'system'"),
        (saying(None), "messages.0.content", "must be a string or a list of parts"),
        (saying({"text": "hi"}), "messages.0.content", "must be a string or a list of parts"),
        (saying([]), "messages.0.content", "must not be empty"),
        (saying(["hi"]), "messages.0.content.0", "dictionary"),
        (saying([{"text": "hi"}]), "messages.0.content.0", "'type'"),
        (saying([{"type": "audio"}]), "messages.0.content.0", "unknown part type; known are 'text', 'image'"),
        (saying([{"type": "text"}]), "messages.0.content.0.text.text", "required"),
        (saying([{"type": "text", "text": 5}]), "messages.0.content.0.text.text", "string"),
        (saying([{"type": "image"}]), "messages.0.content.0.image", "exactly one of 'data' and 'url'"),
        (saying([{"type": "image", "data": "a", "url": "b"}]), "messages.0.content.0.image", "exactly one of"),
        (saying([{"type": "image_url", "image_url": "x"}]), "messages.0.content.0.image_url.image_url", "dictionary"),
        (saying([{"type": "image_url", "image_url": {}}]), "messages.0.content.0.image_url.image_url.url", "required"),
    ],
)
def test_a_fault_is_named_with_its_place(event: Any, place: str, fault: str) -> None:
    cause = refused(json.dumps(event).encode())
    assert cause.error_type == "invalid_event"
    named, _, said = cause.message.partition(": ")
    assert named == place
    assert fault.lower() in said.lower()


def test_the_place_names_the_message_that_is_wrong() -> None:
    good, bad = {"role": "user", "content": "a"}, {"role": "assistant", "content": 7}
    assert refused(json.dumps(document(messages=[good, good, bad])).encode()).message.startswith("messages.2.content:")


def test_a_list_with_one_bad_part_is_not_called_empty() -> None:
    assert "empty" not in refused(json.dumps(saying([{"type": "audio"}])).encode()).message


@pytest.mark.parametrize("broken", [document(messages=[0] * 300_000), saying([0] * 300_000)], ids=["messages", "parts"])
def test_of_many_items_that_are_wrong_the_first_is_told(broken: dict[str, Any]) -> None:
    """To find and to name all of them takes seconds, and a gigabyte."""
    message = refused(json.dumps(broken).encode()).message
    assert message.startswith("messages.0") and "more)" not in message


def test_the_first_three_faults_are_named_and_the_others_counted() -> None:
    message = refused(b'{"event_id": "", "tenant": 1, "policy": 2}').message
    assert message.count(": ") == 3
    assert message.endswith("(and 2 more)")
