"""Reviews joined with verdicts: what becomes a labelled example, and what is left out."""

import json
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from tests.contract.test_review import review
from worker.evaluation.data_set import DataSet
from worker.evaluation.labelled_example import LabelledExample
from worker.evaluation.reviewed import Joined, join_reviews

EVENT = {
    "event_id": "e",
    "conversation_id": "c",
    "policy": "strict",
    "messages": [{"role": "user", "content": "a bomb"}],
}
A, B, C, D = (str(uuid.UUID(int=number)) for number in range(4))


def verdict(name: str, event: Any = EVENT) -> bytes:
    return json.dumps({"verdict_id": name, "event": event}).encode()


async def each(values: Iterable[bytes | None]) -> AsyncIterator[bytes | None]:
    for value in values:
        yield value


async def joined(folder: Path, reviews: list[bytes | None], verdicts: list[bytes | None]) -> tuple[Joined, list[Any]]:
    path = folder / "reviews.jsonl"
    found = await join_reviews(each(reviews), each(verdicts), path)
    return found, [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_reviewed_verdict_is_an_example_that_evaluate_reads(tmp_path: Path) -> None:
    found, rows = await joined(
        tmp_path, [review(verdict_id=A, categories=["S9"], prompt_attack=False)], [verdict(B), verdict(A)]
    )
    assert found == Joined(reviews=1, rows=1)
    assert [row["id"] for row in rows] == [A]
    (example,) = DataSet((tmp_path / "reviews.jsonl",)).examples()
    assert isinstance(example, LabelledExample)
    assert (example.id, example.label, example.categories, example.prompt_attack) == (A, "unsafe", ("S9",), False)
    assert (example.label_source, example.event.messages[0].text) == ("review", "a bomb")


async def test_the_latest_review_decides_whatever_their_order(tmp_path: Path) -> None:
    late = review(verdict_id=A, label="safe", decided_at="2026-05-02T00:00:00Z")
    early = review(verdict_id=A, decided_at="2026-05-02T00:00:00+02:00")
    for order in ([late, early], [early, late]):
        _, rows = await joined(tmp_path, [*order], [verdict(A)])
        assert [row["label"] for row in rows] == ["safe"]


async def test_a_verdict_that_came_twice_is_one_example(tmp_path: Path) -> None:
    found, rows = await joined(tmp_path, [review(verdict_id=A)], [verdict(A, None), verdict(A), verdict(A)])
    assert found == Joined(reviews=1, rows=1)
    assert len(rows) == 1


async def test_what_cannot_be_joined_is_counted(tmp_path: Path) -> None:
    reviews = [review(verdict_id=name) for name in (A, B, C)]
    found, rows = await joined(
        tmp_path, [*reviews, b"no review", None], [verdict(A), verdict(B, None), verdict(D), b"no JSON", None, b"[]"]
    )
    assert found == Joined(reviews=3, unreadable=2, rows=1, without_event={B}, without_verdict=1)
    assert [row["id"] for row in rows] == [A]
