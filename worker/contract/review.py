"""Review: a person's decision on a verdict, as a review console sends it back."""

import uuid
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.verdict import CategoryKey, Label

_MOST_FAULTS = 3


class _Part(BaseModel):
    # Unknown keys are accepted: a console may send the verdict as it came, and fields of its own.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class ReviewedPolicy(_Part):
    """The policy of the verdict."""

    name: str
    """Its name, as the verdict has it."""


class ReviewedVerdict(_Part):
    """What the worker said, echoed from the verdict; the whole verdict will do, other fields are ignored."""

    label: Label
    """The verdict's label."""
    policy: ReviewedPolicy
    """The verdict's policy."""
    violated_categories: tuple[CategoryKey, ...] = ()
    """The verdict's categories."""


class Review(_Part):
    """A person's decision on a verdict."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "verdict_id": "0c2f64a5-0e3c-5b0e-9d9e-6f0f8f3f3a52",
                    "label": "unsafe",
                    "categories": ["S9"],
                    "reviewer": "r-17",
                    "decided_at": "2026-05-01T12:07:00Z",
                    "verdict": {"label": "review", "policy": {"name": "default"}, "violated_categories": ["S9"]},
                }
            ]
        }
    )

    verdict_id: uuid.UUID
    """The verdict's id: its `verdict_id`, or the header `ce_id`. Of several reviews of one the latest decides."""
    label: Literal["safe", "unsafe"]
    """What the person says of the content."""
    categories: tuple[CategoryKey, ...] | None = None
    """The categories that unsafe content violates, as the person says; null where nobody was asked."""
    prompt_attack: bool | None = None
    """Whether it is a prompt attack, as the person says; null where nobody was asked."""
    decided_at: datetime
    """When the person decided."""
    reviewer: str | None = Field(default=None, max_length=512)
    """Who decided, by an id of the console's. In no metric and no log."""
    note: str | None = None
    """What the person has to say about it. In no metric and no log."""
    verdict: ReviewedVerdict | None = None
    """What the worker said, so that who counts agreement needs no memory; without it only the decision counts."""


class UnreadableReview(ValueError):
    """A record that is no review; the message names the fields and the faults, never a value."""


def read_review(value: bytes | None) -> Review:
    """The review in a record's value (UTF-8 JSON). Raises UnreadableReview."""
    if value is None:
        raise UnreadableReview("the record has no value (a tombstone)")
    try:
        document: Any = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableReview(f"the value is not JSON at character {error.pos}") from None
    try:
        return Review.model_validate(document)
    except ValidationError as error:
        raise UnreadableReview(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    """The first faults by field and kind: pydantic's sentences may quote what was sent."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    named = [f"{'.'.join(map(str, fault['loc'])) or 'the review'}: {fault['type']}" for fault in faults[:_MOST_FAULTS]]
    more = f" (and {len(faults) - len(named)} more)" if len(faults) > len(named) else ""
    return "; ".join(named) + more
