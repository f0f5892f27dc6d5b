"""Review counts: agreement by policy and category, with names that nobody outside can multiply."""

import pytest
from prometheus_client import generate_latest

from tests.contract.test_review import review
from worker.contract.review import ReviewedVerdict, read_review
from worker.observability import metrics
from worker.stream.reviews.counts import ReviewCounts, category_results


def reviewed(label: str, *categories: str, policy: str = "default") -> dict[str, object]:
    return {"label": label, "policy": {"name": policy}, "violated_categories": categories}


def value(*labels: str) -> float:
    return metrics.REVIEWS.labels(*labels)._value.get()


@pytest.mark.parametrize(
    ("said", "of_verdict", "results"),
    [
        ({"label": "unsafe", "categories": ["S9"]}, ["S9"], {"S9": "confirmed"}),
        ({"label": "unsafe", "categories": ["S1"]}, ["S9"], {"S9": "refuted", "S1": "missed"}),
        ({"label": "unsafe", "categories": []}, ["S9"], {"S9": "refuted"}),
        ({"label": "unsafe"}, ["S9", "S1"], {"S9": "confirmed", "S1": "confirmed"}),
        ({"label": "unsafe", "categories": ["S9"]}, [], {"S9": "missed"}),
        ({"label": "safe"}, ["S9"], {"S9": "refuted"}),
        ({"label": "safe", "categories": ["S9"]}, ["S9"], {"S9": "refuted"}),
        ({"label": "safe"}, [], {}),
    ],
)
def test_what_a_person_says_of_each_category(
    said: dict[str, object], of_verdict: list[str], results: dict[str, str]
) -> None:
    verdict = ReviewedVerdict.model_validate(reviewed("review", *of_verdict))
    assert category_results(read_review(review(**said)), verdict) == results


def test_only_policies_that_are_known_are_told_apart() -> None:
    known = {"default"}
    counts = ReviewCounts(lambda: known)
    series = [
        ("default", "unsafe", "safe"),
        ("other", "unsafe", "safe"),
        ("none", "none", "safe"),
        ("strict", "unsafe", "safe"),
    ]
    before = [value(*each) for each in series]
    for policy in ("default", "strict", "x" * 200):
        counts.count(read_review(review(label="safe", verdict=reviewed("unsafe", policy=policy))))
    counts.count(read_review(review(label="safe")))
    known.add("strict")  # a reload
    counts.count(read_review(review(label="safe", verdict=reviewed("unsafe", policy="strict"))))
    assert [value(*each) - earlier for each, earlier in zip(series, before, strict=True)] == [1, 2, 1, 1]


def test_all_known_series_are_there_from_the_start() -> None:
    ReviewCounts(lambda: ["one of mine"]).begin()
    (family,) = metrics.REVIEWED_CATEGORIES.collect()
    names = {tuple(each.labels.values()) for each in family.samples if each.name.endswith("_total")}
    assert len(names) == 14 * 3 * 3
    assert 'policy="one of mine",verdict="unsafe"' in generate_latest().decode()
