"""Decisions on any findings: what holds whatever the guards say."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.moderation.decisions import (
    BAND,
    IGNORED,
    REVIEWED,
    RULES,
    SAFE,
    SEVERITY,
    STRICT,
    UNSAFE,
    answer,
    judged,
    unsafe,
)
from worker.contract.verdict import Label, Reason
from worker.guards.guard import Fault, Finding
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, decide
from worker.policy.category_rule import CategoryRule
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.taxonomy import CATEGORY_KEYS

SCORES = st.floats(0, 1)
CATEGORIES = st.lists(st.sampled_from(CATEGORY_KEYS), max_size=3, unique=True).map(tuple)
FINDINGS = st.builds(Finding, SCORES, CATEGORIES) | st.sampled_from([Finding(None, fault=fault) for fault in Fault])


@settings(max_examples=150)
@given(
    st.lists(FINDINGS, max_size=3),
    st.lists(FINDINGS, max_size=3),
    st.booleans(),
    st.sampled_from([DEFAULT_POLICY, BAND, STRICT, REVIEWED, IGNORED, RULES]),
)
def test_only_what_was_fully_judged_and_harmless_is_safe(
    content: list[Finding], attacks: list[Finding], complete: bool, policy: Policy
) -> None:
    decision = decide([answer(LLAMA_GUARD, content, complete=complete), answer(PROMPT_GUARD, attacks)], policy)
    trusted = complete and all(finding.fault is None for finding in (*content, *attacks))
    if decision.label is SAFE:
        assert trusted
        assert set(decision.reasons) <= {Reason.EXCLUDED_ONLY, Reason.IGNORED_ONLY}
        assert not decision.prompt_attack or policy.prompt_attack_action == "ignore"
        for finding in content:
            assert finding.score is not None
            for key in set(finding.categories) - set(policy.excluded_categories):
                rule = policy.categories.get(key, CategoryRule())
                threshold = policy.unsafe_threshold if rule.threshold is None else rule.threshold
                assert finding.score < threshold or rule.action == "ignore"
    else:
        assert decision.reasons
    if decision.label is UNSAFE:
        assert decision.reasons[0] in (Reason.LLAMA_GUARD, Reason.PROMPT_GUARD)
    if Reason.PROMPT_GUARD in decision.reasons and policy.prompt_attack_action == "unsafe":
        assert decision.label is UNSAFE
    if Reason.LLAMA_GUARD in decision.reasons and not policy.categories:
        assert decision.label is UNSAFE
    assert set(decision.violated_categories).isdisjoint(policy.excluded_categories)


@settings(max_examples=100)
@given(
    st.lists(FINDINGS, max_size=3),
    st.lists(FINDINGS, max_size=3),
    FINDINGS,
    st.sampled_from([DEFAULT_POLICY, BAND, RULES]),
)
def test_a_further_window_never_makes_a_verdict_milder(
    content: list[Finding], attacks: list[Finding], further: Finding, policy: Policy
) -> None:
    before = judged(content, attacks, policy).label
    assert SEVERITY(judged([*content, further], attacks, policy).label) >= SEVERITY(before)
    assert SEVERITY(judged(content, [*attacks, further], policy).label) >= SEVERITY(before)


@settings(max_examples=200)
@given(SCORES, SCORES, CATEGORIES.filter(bool), st.sampled_from([DEFAULT_POLICY, BAND, STRICT, RULES]))
def test_a_higher_score_never_makes_a_verdict_milder(
    one: float, other: float, categories: tuple[str, ...], policy: Policy
) -> None:
    low, high = (judged([Finding(score, categories)], policy=policy).label for score in sorted((one, other)))
    assert SEVERITY(high) >= SEVERITY(low)


def test_every_fault_is_a_reason() -> None:
    assert {fault.value for fault in Fault} <= {reason.value for reason in Reason}


def test_the_order_of_the_guards_does_not_matter() -> None:
    for score, attack in product([0.1, 0.5, 0.9], repeat=2):
        answers = [answer(LLAMA_GUARD, [unsafe(score, "S1")]), answer(PROMPT_GUARD, [Finding(attack)])]
        assert decide(answers, BAND).label is decide(answers[::-1], BAND).label


@pytest.mark.parametrize(
    "odd",
    [
        Finding(1.5, ("S1",), {"S1": 0.5}),
        Finding(0.9, ("S1",), {"S1": float("nan")}),
        Finding(0.9, ("S15",), {"S15": 0.5}),
    ],
)
def test_a_finding_that_makes_no_sense_is_reviewed_and_leaves_nothing_in_the_verdict(odd: Finding) -> None:
    decision = judged([odd])
    assert (decision.label, decision.reasons) == (Label.REVIEW, (Reason.UNPARSEABLE,))
    assert (decision.unsafe_score, decision.violated_categories, decision.category_scores) == (None, (), {})
