"""The headers of verdicts (CloudEvents binary mode) and of dead letters: enforcement can route on them alone."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from worker.contract.record import Headers, header
from worker.contract.verdict import UTC_TIMES, Label, Verdict

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

KafkaHeaders = list[tuple[str, bytes]]

_ALWAYS: KafkaHeaders = [
    ("content-type", b"application/json"),
    ("ce_specversion", b"1.0"),
    ("ce_type", b"moderation.verdict.v1"),
]
_LABELS = {label: ("moderation-label", label.value.encode()) for label in Label}
_NO_CATEGORIES = ("moderation-categories", b"")
_SHADOW = ("moderation-shadow", b"true")
DecimalText = Annotated[str, Field(pattern=r"^-?\d+$")]  # a header is text


class _HeaderModel(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    def to_kafka(self) -> KafkaHeaders:
        """The headers that are present, each value in UTF-8."""
        fields = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        return [(name, str(value).encode("utf-8", "replace")) for name, value in fields.items()]


class VerdictHeaders(_HeaderModel):
    """Headers of a verdict: CloudEvents 1.0 in Kafka's binary mode, and what enforcement routes on."""

    content_type: Literal["application/json"] = Field(default="application/json", alias="content-type")
    """The media type of the value."""
    ce_specversion: Literal["1.0"] = "1.0"
    """The version of CloudEvents."""
    ce_id: str
    """The verdict id: dedupe by it."""
    ce_source: str
    """`/moderation-worker/` and the input topic."""
    ce_type: Literal["moderation.verdict.v1"] = "moderation.verdict.v1"
    """What the value is: a verdict, in the first version of its schema."""
    ce_subject: str
    """The event id."""
    ce_time: datetime
    """When the verdict was made (RFC 3339, UTC)."""
    label: Literal["safe", "unsafe", "review"] = Field(alias="moderation-label")
    """The verdict's label."""
    categories: str = Field(alias="moderation-categories")
    """The violated category keys, comma-separated (`S1,S9`); empty where there are none."""
    shadow: Literal["true"] | None = Field(default=None, alias="moderation-shadow")
    """Only on the shadow topic: the verdict of a policy that is on trial. Nothing may follow from it."""
    traceparent: str | None = None
    """W3C trace context: as the input record had it, or, where tracing is on, with the worker's own span."""


def verdict_headers(verdict: Verdict, of_record: Headers) -> KafkaHeaders:
    """The headers of a verdict on a record that had the headers `of_record`: those of VerdictHeaders.

    Written out, because this runs for every event: a model built and dumped costs as much as the verdict itself.
    """
    categories = verdict.violated_categories
    headers = [
        *_ALWAYS,
        ("ce_id", verdict.verdict_id.encode()),
        ("ce_source", _source(verdict.source.topic)),
        ("ce_subject", verdict.event_id.encode("utf-8", "replace")),
        ("ce_time", _time(verdict.decided_at)),
        _LABELS[verdict.label],
        ("moderation-categories", ",".join(categories).encode()) if categories else _NO_CATEGORIES,
    ]
    traceparent = header(of_record, "traceparent") if of_record else None
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        headers.append(("traceparent", traceparent))
    return headers


@lru_cache(64)
def _source(topic: str) -> bytes:
    return b"/moderation-worker/" + topic.encode()


@lru_cache(64)  # those of a batch are decided at one moment
def _time(moment: datetime) -> bytes:
    return orjson.dumps(moment, option=UTC_TIMES)[1:-1]


def shadow_headers(verdict: Verdict, of_record: Headers) -> KafkaHeaders:
    """The headers of a shadow policy's verdict: those of a verdict, and `moderation-shadow`."""
    return [*verdict_headers(verdict, of_record), _SHADOW]


class DeadLetterHeaders(_HeaderModel):
    """Headers that a dead letter has beside the original ones."""

    error_type: str = Field(alias="moderation-error-type")
    """The cause as a stable word, such as `invalid_event`."""
    error_message: str = Field(alias="moderation-error-message")
    """The cause as a sentence: which field, what is wrong. Never message content."""
    error_stage: str = Field(alias="moderation-error-stage")
    """Where it was found: `read`, `policy`, `prepare`, `judge` or `publish`."""
    source_topic: str = Field(alias="moderation-source-topic")
    """The topic that the record came from."""
    source_partition: DecimalText = Field(alias="moderation-source-partition")
    """Its partition there."""
    source_offset: DecimalText = Field(alias="moderation-source-offset")
    """Its offset there."""
    source_timestamp: DecimalText = Field(alias="moderation-source-timestamp")
    """Milliseconds since the epoch. Topic, partition, offset and timestamp give the verdict id."""
    replay_count: DecimalText = Field(default="0", alias="moderation-replay-count")
    """How often this record was replayed from the dead letters."""


VALUE_LEFT_OUT = "moderation-value-left-out"
RESERVED = frozenset(field.alias for field in DeadLetterHeaders.model_fields.values() if field.alias) | {VALUE_LEFT_OUT}
