"""Policies: defaults that are the release's own, values that make sense, a hash that changes with each of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.taxonomy import CATEGORIES, CATEGORY_KEYS, TEXT_ONLY

OTHER_VALUES: dict[str, Any] = {
    "name": "other",
    "excluded_categories": ("S1",),
    "unsafe_threshold": 0.6,
    "review_band": (0.4, 0.6),
    "prompt_attack_threshold": 0.6,
    "prompt_attack_action": "review",
}


def test_the_default_is_what_the_release_does() -> None:
    assert (
        Policy(
            name="default",
            excluded_categories=(),
            unsafe_threshold=0.5,
            review_band=None,
            prompt_attack_threshold=0.5,
            prompt_attack_action="unsafe",
        )
        == DEFAULT_POLICY
    )


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("name", "", "at least 1 character"),
        ("unsafe_threshold", -0.01, "greater than or equal to 0"),
        ("unsafe_threshold", 1.01, "less than or equal to 1"),
        ("unsafe_threshold", float("nan"), "equal to 1"),
        ("unsafe_threshold", "high", "valid number"),
        ("prompt_attack_threshold", 1.01, "less than or equal to 1"),
        ("prompt_attack_threshold", float("nan"), "equal to 1"),
        ("prompt_attack_action", "block", "'unsafe', 'review' or 'ignore'"),
        ("review_band", (0.6, 0.4), "from < to"),
        ("review_band", (0.5, 0.5), "from < to"),
        ("review_band", (0.5,), "required"),
        ("review_band", (0.1, 0.2, 0.3), "at most 2"),
        ("review_band", (0.5, 1.5), "less than or equal to 1"),
        ("review_band", (float("nan"), 0.5), "equal to 1"),
        ("excluded_categories", ("S1", "S15", "s2"), r"\['S15', 's2'\]; known are S1 to S14"),
        ("excluded_categories", CATEGORY_KEYS, "nothing would be judged"),
        ("excluded_categories", "S1", "valid tuple"),
        ("colour", "red", "not permitted"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(field: str, value: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Policy(**{"name": "x", field: value})


@pytest.mark.parametrize("edge", [0, 1, 0.0, 1.0])
def test_thresholds_include_their_ends(edge: float) -> None:
    policy = Policy(name="x", unsafe_threshold=edge, prompt_attack_threshold=edge, review_band=(0, 1))
    assert (policy.unsafe_threshold, policy.prompt_attack_threshold) == (edge, edge)


def test_excluded_categories_are_kept_once_and_in_the_order_of_the_taxonomy() -> None:
    assert Policy(name="x", excluded_categories=("S10", "S2", "S10")).excluded_categories == ("S2", "S10")


def test_all_but_one_category_may_be_excluded() -> None:
    assert len(Policy(name="x", excluded_categories=CATEGORY_KEYS[1:]).excluded_categories) == 13


@pytest.mark.parametrize(
    ("threshold", "band", "wanted_from"),
    [(0.5, None, 0.5), (0.5, (0.3, 0.6), 0.3), (0.5, (0.6, 0.8), 0.5), (1.0, None, 1.0)],
)
def test_categories_are_wanted_from_the_lowest_score_that_is_not_safe(
    threshold: float, band: tuple[float, float] | None, wanted_from: float
) -> None:
    assert Policy(name="x", unsafe_threshold=threshold, review_band=band).categories_wanted_from == wanted_from


# -- the hash


def test_the_hash_stays_the_same_between_releases() -> None:
    assert DEFAULT_POLICY.hash == "f7bc57afef9d190c"
    assert Policy(**OTHER_VALUES).hash == "16810ca3af28b3a2"


@pytest.mark.parametrize("field", sorted(OTHER_VALUES))
def test_the_hash_changes_with_each_value(field: str) -> None:
    assert Policy(**{"name": "default", field: OTHER_VALUES[field]}).hash != DEFAULT_POLICY.hash


def test_every_field_is_in_the_test_of_the_hash() -> None:
    assert set(OTHER_VALUES) == set(Policy.model_fields)


def test_equal_policies_have_equal_hashes_however_they_were_written() -> None:
    one = Policy(name="x", excluded_categories=("S10", "S2"), unsafe_threshold=1)
    other = Policy.model_validate({"unsafe_threshold": 1.0, "excluded_categories": ["S2", "S10", "S2"], "name": "x"})
    assert one == other
    assert one.hash == other.hash


def test_the_taxonomy_has_fourteen_categories_in_order() -> None:
    assert tuple(f"S{number}" for number in range(1, 15)) == CATEGORY_KEYS == tuple(CATEGORIES)
    assert set(CATEGORY_KEYS) >= TEXT_ONLY
    assert CATEGORIES["S9"] == "Indiscriminate Weapons"
