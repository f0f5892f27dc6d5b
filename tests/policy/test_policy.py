"""Policies: defaults that are the release's own, values that make sense, a hash that changes with each of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from worker.policy.category_rule import Bar
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.taxonomy import CATEGORIES, CATEGORY_KEYS, TEXT_ONLY

OTHER_VALUES: dict[str, Any] = {
    "name": "other",
    "excluded_categories": ("S1",),
    "unsafe_threshold": 0.6,
    "review_band": (0.4, 0.6),
    "prompt_attack_threshold": 0.6,
    "prompt_attack_action": "review",
    "excluded_mode": "filter",
    "categories": {"S9": {"action": "review", "threshold": 0.7}, "S12": {"review_band": (0.5, 0.9)}},
    "judged_roles": ("user",),
    "images": "review",
}
FIRST_RELEASE = dict(list(OTHER_VALUES.items())[:6])  # the fields that there have always been


def test_the_default_is_what_the_release_does() -> None:
    assert (
        Policy(
            name="default",
            excluded_categories=(),
            unsafe_threshold=0.5,
            review_band=None,
            prompt_attack_threshold=0.5,
            prompt_attack_action="unsafe",
            excluded_mode="prompt",
            categories={},
            judged_roles=("user", "assistant"),
            images="judge",
        )
        == DEFAULT_POLICY
    )


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("name", "", "at least 1 character"),
        ("name", "a\nb", "should match pattern"),
        ("name", "a\n", "should match pattern"),
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
        ("review_band", (0.6, 0.8), r"\[0\.6, 0\.8\] must hold unsafe_threshold \(0\.5\)"),
        ("review_band", (0.1, 0.2), "more mildly"),
        ("colour", "red", "not permitted"),
        ("excluded_mode", "drop", "'prompt' or 'filter'"),
        ("categories", {"S15": {}}, r"\['S15'\]; known are S1 to S14"),
        ("categories", {"S9": {"action": "block"}}, "'unsafe', 'review' or 'ignore'"),
        ("categories", {"S9": {"treshold": 0.5}}, "not permitted"),
        ("categories", {"S9": {"threshold": 1.5}}, "less than or equal to 1"),
        ("categories", {"S9": {"action": "ignore", "review_band": (0.4, 0.6)}}, r"categories\.S9: an ignored category"),
        (
            "categories",
            {"S9": {"review_band": (0.6, 0.8)}},
            r"categories\.S9\.review_band .* must hold unsafe_threshold",
        ),
        (
            "categories",
            {"S9": {"threshold": 0.3, "review_band": (0.4, 0.6)}},
            r"must hold categories\.S9\.threshold \(0\.3\)",
        ),
        ("judged_roles", (), "at least 1 item"),
        ("judged_roles", ("tool",), "'user' or 'assistant'"),
        ("images", "drop", "'judge', 'review' or 'ignore'"),
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
    [(0.5, None, 0.5), (0.5, (0.3, 0.6), 0.3), (0.5, (0.5, 0.8), 0.5), (1.0, None, 1.0)],
)
def test_categories_are_wanted_from_the_lowest_score_that_is_not_safe(
    threshold: float, band: tuple[float, float] | None, wanted_from: float
) -> None:
    assert Policy(name="x", unsafe_threshold=threshold, review_band=band).categories_wanted_from == wanted_from


# -- the hash


def test_the_hash_stays_the_same_between_releases() -> None:
    assert DEFAULT_POLICY.hash == "f7bc57afef9d190c"
    assert Policy(**FIRST_RELEASE).hash == "16810ca3af28b3a2"
    assert Policy(**OTHER_VALUES).hash == "061669b2203bcbe4"


def test_a_rule_with_a_lower_threshold_or_band_wants_categories_sooner() -> None:
    rules = {"S1": {"threshold": 0.2}, "S2": {"review_band": (0.1, 0.6)}, "S3": {"threshold": 0.9}}
    assert Policy(name="x", categories=rules).categories_wanted_from == 0.1
    assert Policy(name="x", categories={"S3": {"threshold": 0.9}}).categories_wanted_from == 0.5


def test_what_a_rule_does_not_say_is_the_policys() -> None:
    rules = {"S1": {"action": "review"}, "S2": {"threshold": 0.7}, "S3": {"review_band": (0.2, 0.6)}, "S4": {}}
    rules["S5"] = {"action": "ignore"}
    policy = Policy(name="x", review_band=(0.4, 0.6), excluded_categories=("S6",), categories=rules)
    assert policy.bars["S1"] == Bar("review", 0.5, (0.4, 0.6))
    assert policy.bars["S2"] == Bar("unsafe", 0.7)
    assert policy.bars["S3"] == Bar("unsafe", 0.5, (0.2, 0.6))
    assert policy.bars["S4"] == Bar("unsafe", 0.5, (0.4, 0.6)) == policy.bars["S14"]
    assert policy.bars["S5"] == Bar("ignore", 0.5)
    assert "S6" not in policy.bars and len(policy.bars) == 13


def test_a_category_cannot_be_excluded_and_have_a_rule() -> None:
    with pytest.raises(ValidationError, match=r"categories\.S9 has a rule, and excluded_categories has S9"):
        Policy(name="x", excluded_categories=("S9",), categories={"S9": {"action": "review"}})


def test_only_filtered_categories_are_asked_for() -> None:
    assert Policy(name="x", excluded_categories=("S9",)).excluded_from_prompt == ("S9",)
    assert Policy(name="x", excluded_categories=("S9",), excluded_mode="filter").excluded_from_prompt == ()


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
