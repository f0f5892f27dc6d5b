"""Review: what a console may send, and that nothing of it is repeated in what is said of faults."""

import json
from typing import Any

import pytest

from worker.contract.review import UnreadableReview, read_review

ID = "0c2f64a5-0e3c-5b0e-9d9e-6f0f8f3f3a52"


def review(**fields: Any) -> bytes:
    """A review in JSON; None leaves a field out."""
    document = {"verdict_id": ID, "label": "unsafe", "decided_at": "2026-05-01T12:07:00Z", **fields}
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def test_the_least_that_a_console_must_send() -> None:
    read = read_review(review())
    assert (str(read.verdict_id), read.label, read.categories, read.verdict) == (ID, "unsafe", None, None)


def test_a_whole_verdict_may_be_echoed() -> None:
    verdict = {
        "verdict_id": ID,
        "label": "review",
        "policy": {"name": "strict", "hash": "0" * 16},
        "violated_categories": ["S9"],
        "event": {"messages": []},
        "scores": {"unsafe": 0.6},
    }
    read = read_review(review(verdict=verdict, categories=["S9", "S1"], queue="a field of the console's"))
    assert read.verdict is not None
    assert (read.verdict.label, read.verdict.policy.name) == ("review", "strict")
    assert read.verdict.violated_categories == ("S9",)
    assert read.categories == ("S9", "S1")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "tombstone"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the review: model_type"),
        (b'"SECRET"', "the review: model_type"),
        (review(label="SECRET"), "label: literal_error"),
        (review(label="review"), "label: literal_error"),
        (review(verdict_id="SECRET"), "verdict_id: uuid_parsing"),
        (review(decided_at="SECRET"), "decided_at: datetime_from_date_parsing"),
        (review(categories=["SECRET"]), "categories.0: string_pattern_mismatch"),
        (review(categories=["S15"]), "categories.0: string_pattern_mismatch"),
        (review(verdict={"label": "SECRET"}), "verdict.label: enum; verdict.policy: missing"),
        (review(verdict="SECRET"), "verdict: model_type"),
        (review(reviewer="SECRET" * 100), "reviewer: string_too_long"),
        (b"{}", "verdict_id: missing; label: missing; decided_at: missing"),
    ],
)
def test_what_is_no_review_is_told_without_what_it_says(value: bytes | None, says: str) -> None:
    with pytest.raises(UnreadableReview) as caught:
        read_review(value)
    assert says in str(caught.value)
    assert "SECRET" not in str(caught.value)
