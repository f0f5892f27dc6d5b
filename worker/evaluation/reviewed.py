"""Reviewed verdicts as labelled data: people's decisions joined with the events that their verdicts carry."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson

from worker.contract.review import Review, UnreadableReview, read_review

LABEL_SOURCE = "review"


@dataclass(slots=True)
class Joined:
    """What a join found."""

    reviews: int = 0  # of different verdicts
    unreadable: int = 0  # records that are no reviews
    rows: int = 0  # written
    without_event: set[str] = field(default_factory=set)  # ids of verdicts that do not carry it
    without_verdict: int = 0  # reviews whose verdict is not on the topic: gone, or not labelled review


async def join_reviews(
    reviews: AsyncIterable[bytes | None], verdicts: AsyncIterable[bytes | None], path: Path
) -> Joined:
    """Writes a row of labelled data for each reviewed verdict that carries its event. Memory: the reviews.

    Of several reviews of one verdict the latest decides; a verdict that is there twice is written once. Raises what the
    topics raise, and OSError.
    """
    joined = Joined()
    latest = await _latest(reviews, joined)
    missing = set(latest)
    with path.open("wb") as file:
        async for value in verdicts:
            verdict = _verdict(value)
            name = str(verdict.get("verdict_id"))
            if name not in missing:
                continue
            if not isinstance(verdict.get("event"), dict):
                joined.without_event.add(name)
                continue
            missing.discard(name)
            joined.without_event.discard(name)
            joined.rows += 1
            file.write(orjson.dumps(_row(latest[name], verdict)) + b"\n")
    joined.without_verdict = len(missing) - len(joined.without_event)
    return joined


async def _latest(values: AsyncIterable[bytes | None], joined: Joined) -> dict[str, Review]:
    found: dict[str, Review] = {}
    async for value in values:
        try:
            review = read_review(value)
        except UnreadableReview:
            joined.unreadable += 1
            continue
        name = str(review.verdict_id)
        # Without an offset a time counts as UTC, as everywhere in the contract.
        if name not in found or _moment(review) >= _moment(found[name]):
            found[name] = review
    joined.reviews = len(found)
    return found


def _moment(review: Review) -> float:
    decided = review.decided_at
    return (decided if decided.tzinfo else decided.replace(tzinfo=UTC)).timestamp()


def _verdict(value: bytes | None) -> dict[str, Any]:
    try:
        document = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _row(review: Review, verdict: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"label": review.label}
    if review.categories:
        said["categories"] = review.categories
    if review.prompt_attack is not None:
        said["prompt_attack"] = review.prompt_attack
    return {"id": str(review.verdict_id), "event": verdict["event"], **said, "label_source": LABEL_SOURCE}
