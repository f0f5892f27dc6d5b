"""Verdicts: ids that never change, JSON and headers as their schemas say."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.headers import verdict_headers
from worker.contract.schemas import schemas
from worker.contract.verdict import (
    VERDICT,
    Coverage,
    Label,
    ModelRef,
    PolicyRef,
    Reason,
    Scores,
    Source,
    Verdict,
    spelled_id_of,
    verdict_id_of,
)

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


SCHEMAS = schemas()


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMAS[name]), format_checker=Draft202012Validator.FORMAT_CHECKER)


def verdict(**changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "verdict_id": spelled_id_of("chat.events", 3, 812, 1_700_000_000_000),
        "event_id": "m-1",
        "conversation_id": "c-1",
        "label": Label.UNSAFE,
        "reasons": (Reason.LLAMA_GUARD,),
        "violated_categories": ("S9", "S1"),
        "judged_role": "user",
        "scores": Scores(unsafe=0.98, prompt_attack=0.01, categories={"S9": 0.97, "S1": 0.1}),
        "policy": PolicyRef(name="default", hash="0123456789abcdef"),
        "models": (ModelRef(id="m", revision="r", stand_in=True),),
        "coverage": Coverage(llama_guard_windows=1),
        "source": Source(topic="chat.events", partition=3, offset=812),
        "decided_at": datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC),
        "latency_ms": 41.5,
    }
    return Verdict(**{**fields, **changes})


# -- ids


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (("chat.events", 0, 0, 0), "4dfdb6cc-6575-5afe-85a2-a273c253fe4e"),
        (("chat.events", 3, 812, 1_700_000_000_000), "fb73c279-ee6a-596c-a38a-1f2819751bf9"),
    ],
)
def test_ids_never_change_between_releases(place: tuple[str, int, int, int], expected: str) -> None:
    assert verdict_id_of(*place) == UUID(expected)
    assert spelled_id_of(*place) == expected


def test_every_coordinate_is_in_the_id() -> None:
    ids = {
        verdict_id_of(*place)
        for place in [("a", 0, 0, 0), ("b", 0, 0, 0), ("a", 1, 0, 0), ("a", 0, 1, 0), ("a", 0, 0, 1), ("a", 11, 1, 1)]
    }
    assert len(ids) == 6
    assert verdict_id_of("a", 1, 11, 0) != verdict_id_of("a", 11, 1, 0)


# -- JSON


def test_the_json_is_as_the_schema_says() -> None:
    document = json.loads(verdict().to_json())
    validator("verdict.schema.json").validate(document)
    assert VERDICT.validate_python(document) == verdict()
    assert document["label"] == "unsafe"
    assert document["violated_categories"] == ["S9", "S1"]
    assert document["decided_at"] == "2026-05-01T12:00:00.250000Z"
    assert document["source"] == {"topic": "chat.events", "partition": 3, "offset": 812}
    assert document["tenant"] is None and document["event"] is None


@pytest.mark.parametrize(
    "occurred_at",
    ["2026-05-01T12:00:00Z", "2026-05-01T12:00:00.5+05:30", "2026-05-01T12:00:00-11:00", "2026-05-01T12:00:00", 0],
)
def test_a_review_verdict_may_carry_the_event(occurred_at: Any) -> None:
    event = read_chat_event(
        orjson.dumps({**ChatEvent.model_config["json_schema_extra"]["examples"][1], "occurred_at": occurred_at})  # type: ignore[index,call-overload]
    )
    document = json.loads(verdict(label=Label.REVIEW, event=event).to_json())
    validator("verdict.schema.json").validate(document)
    assert read_chat_event(orjson.dumps(document["event"])).messages == event.messages


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=3,
    )
)
def test_any_metadata_that_could_be_read_can_be_echoed(metadata: dict[str, Any]) -> None:
    event = {"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": "x"}]}
    read = read_chat_event(json.dumps({**event, "metadata": metadata}).replace("Infinity", "1e9").encode())
    echoed = json.loads(verdict(metadata=read.metadata).to_json())["metadata"]
    assert echoed == read.metadata


def test_the_deepest_event_that_is_read_can_be_echoed() -> None:
    event = {"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": "x"}]}
    value = json.dumps({**event, "metadata": {"a": 0}}).replace(": 0", ": " + "[" * 198 + "]" * 198).encode()
    read = read_chat_event(value)
    document = verdict(label=Label.REVIEW, metadata=read.metadata, event=read).to_json()
    assert document.count(b"[") > 2 * 198


@pytest.mark.parametrize("wrong", [{"violated_categories": ("S15",)}, {"violated_categories": ("s1",)}])
def test_a_category_key_outside_of_the_taxonomy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="violated_categories"):
        VERDICT.validate_json(verdict(**wrong).to_json())


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_is_a_probability(score: float) -> None:
    with pytest.raises(ValueError, match="unsafe"):
        VERDICT.validate_python({**vars(verdict()), "scores": {"unsafe": score}})


# -- headers


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    headers = dict(verdict_headers(verdict(), []))
    assert headers == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": verdict().verdict_id.encode(),
        "ce_source": b"/moderation-worker/chat.events",
        "ce_type": b"moderation.verdict.v1",
        "ce_subject": b"m-1",
        "ce_time": b"2026-05-01T12:00:00.250000Z",
        "moderation-label": b"unsafe",
        "moderation-categories": b"S9,S1",
    }


@pytest.mark.parametrize("label", list(Label))
def test_the_headers_are_as_the_schema_says(label: Label) -> None:
    headers = verdict_headers(verdict(label=label, event_id="ünï 😀"), [("traceparent", TRACE)])
    as_text = {name: value.decode() for name, value in headers}
    validator("verdict-headers.schema.json").validate(as_text)
    assert as_text["moderation-label"] == label
    assert as_text["ce_subject"] == "ünï 😀"


def test_without_categories_the_header_is_there_and_empty() -> None:
    headers = verdict_headers(verdict(label=Label.SAFE, reasons=(), violated_categories=()), [])
    assert dict(headers)["moderation-categories"] == b""


def test_the_trace_goes_on() -> None:
    headers = verdict_headers(verdict(), [("other", b"x"), ("traceparent", b"junk"), ("traceparent", TRACE)])
    assert [value for name, value in headers if name == "traceparent"] == [TRACE]
    assert "other" not in dict(headers)


@pytest.mark.parametrize("broken", [b"", None, b"junk", TRACE + b"\n", TRACE.upper(), b"\xff" + TRACE[1:]])
def test_a_broken_traceparent_is_left_out(broken: bytes | None) -> None:
    assert "traceparent" not in dict(verdict_headers(verdict(), [("traceparent", broken)]))
