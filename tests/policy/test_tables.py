"""Inheritance: a policy over its base, and bases that lead nowhere."""

from pathlib import Path
from typing import Any

import pytest

from worker.policy.policy import Policy
from worker.policy.tables import Table, Tables

FILE = Path("policies.toml")


def tables(**values: Any) -> Tables:
    return Tables({name: Table(FILE, each) for name, each in values.items()})


def words(found: Tables) -> list[str]:
    return [fault.words for fault in found.faults]


def test_a_policy_is_its_table_over_its_bases() -> None:
    found = tables(
        leaf={"base": "middle", "unsafe_threshold": 0.3},
        middle={"base": "root", "excluded_categories": ["S9"]},
        root={"unsafe_threshold": 0.4, "prompt_attack_threshold": 0.9, "excluded_categories": ["S1", "S2"]},
    )
    assert words(found) == []
    assert found.policies["leaf"] == Policy(
        name="leaf", unsafe_threshold=0.3, excluded_categories=("S9",), prompt_attack_threshold=0.9
    )
    assert found.policies["middle"].unsafe_threshold == 0.4
    assert found.policies["root"].excluded_categories == ("S1", "S2")


def test_rules_of_categories_are_joined_value_by_value() -> None:
    found = tables(
        base={"categories": {"S1": {"action": "review", "threshold": 0.7}, "S2": {"action": "ignore"}}},
        child={"base": "base", "categories": {"S1": {"threshold": 0.8}, "S3": {"action": "review"}}},
    )
    assert found.policies["child"] == Policy(
        name="child",
        categories={
            "S1": {"action": "review", "threshold": 0.8},
            "S2": {"action": "ignore"},
            "S3": {"action": "review"},
        },
    )


def test_what_a_policy_excludes_takes_the_bases_rule_away() -> None:
    found = tables(
        base={"categories": {"S1": {"action": "review"}}}, child={"base": "base", "excluded_categories": ["S1"]}
    )
    assert found.policies["child"] == Policy(name="child", excluded_categories=("S1",))


def test_a_rule_on_what_the_base_excludes_is_refused() -> None:
    found = tables(
        base={"excluded_categories": ["S1"]}, child={"base": "base", "categories": {"S1": {"action": "review"}}}
    )
    assert words(found) == [
        "policies.child: categories.S1 has a rule, and excluded_categories has S1: only one can be",
    ]


@pytest.mark.parametrize("defined", [True, False])
def test_the_default_can_be_a_base(defined: bool) -> None:
    others = {"default": {"unsafe_threshold": 0.4}} if defined else {}
    found = tables(**others, child={"base": "default", "prompt_attack_threshold": 0.9})
    assert words(found) == []
    assert found.policies["child"].unsafe_threshold == (0.4 if defined else 0.5)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"a": {"base": "strcit"}, "strict": {}},
            "policies.a.base: no policy is named 'strcit'; did you mean 'strict'?",
        ),
        ({"a": {"base": "x"}}, "policies.a.base: no policy is named 'x'"),
        ({"a": {"base": 7}}, "policies.a.base: must be the name of a policy"),
        ({"a": {"base": ["b"]}}, "policies.a.base: must be the name of a policy"),
        ({"a": {"base": "a"}}, "policies.a.base: a circle, a -> a"),
        (
            {"a": {"base": "b"}, "b": {"base": "c"}, "c": {"base": "b"}},
            "policies.c.base: a circle, b -> c -> b",
        ),
        ({"a": {"base": "b"}, "b": {"unsafe_threshold": 2}}, "policies.b.unsafe_threshold: Input should be less than"),
        ({"a": {"base": "b"}, "b": {"categories": 7}}, "policies.b.categories: Input should be a valid dictionary"),
        (
            {"b": {"categories": {"S1": {"action": "review"}}}, "a": {"base": "b", "categories": {"S1": 7}}},
            "policies.a.categories.S1: Input should be a valid",
        ),
        (
            {"b": {"categories": {"S1": {"action": "review"}}}, "a": {"base": "b", "excluded_categories": [["S1"]]}},
            "policies.a.excluded_categories.0: Input should be a valid string",
        ),
    ],
)
def test_a_fault_is_told_once_where_it_is(given: dict[str, Any], fault: str) -> None:
    found = tables(**given)
    assert len(words(found)) == 1
    assert words(found)[0].startswith(fault)
    assert "a" not in found.policies


def test_sound_policies_beside_a_broken_one_are_kept_and_each_fault_is_told() -> None:
    found = tables(a={"base": "b"}, b={"base": "b"}, c={"colour": "red", "unsafe_threshold": 2}, d={})
    assert set(found.policies) == {"d"}
    assert [each.partition(":")[0] for each in words(found)] == [
        "policies.b.base",
        "policies.c.unsafe_threshold",
        "policies.c.colour",
    ]


def test_a_chain_of_bases_has_an_end() -> None:
    chain: dict[str, Any] = {f"p{number}": {"base": f"p{number + 1}"} for number in range(5000)}
    found = tables(**chain, p5000={})
    assert any("more than 16 bases below 'p0'" in each for each in words(found))
