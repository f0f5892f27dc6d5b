"""Decisions: a table of what guards say and what becomes of it. Whatever cannot be trusted is never safe."""

import pytest

from tests.moderation.decisions import (
    BAND,
    IGNORED,
    REVIEW,
    REVIEWED,
    RULES,
    SAFE,
    STRICT,
    UNSAFE,
    answer,
    judged,
    unsafe,
)
from worker.contract.verdict import Label, Reason
from worker.guards.guard import Fault, Finding
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, Decision, decide
from worker.policy.policy import DEFAULT_POLICY, Policy


def test_what_both_guards_find_harmless_is_safe_without_a_reason() -> None:
    assert judged([Finding(0.01)], [0.02]) == Decision(SAFE, unsafe_score=0.01, attack_score=0.02)


@pytest.mark.parametrize(
    ("policy", "finding", "label", "reason"),
    [
        (DEFAULT_POLICY, Finding(0.499), SAFE, None),
        (DEFAULT_POLICY, unsafe(0.5, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (DEFAULT_POLICY, unsafe(1.0, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (STRICT, Finding(0.199), SAFE, None),
        (STRICT, unsafe(0.2, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (STRICT, unsafe(0.9, "S6"), SAFE, Reason.EXCLUDED_ONLY),
        (STRICT, unsafe(0.9, "S6", "S13"), SAFE, Reason.EXCLUDED_ONLY),
        (STRICT, unsafe(0.9, "S6", "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (BAND, Finding(0.299), SAFE, None),
        (BAND, unsafe(0.3, "S9"), REVIEW, Reason.AMBIGUOUS),
        (BAND, unsafe(0.5, "S9"), REVIEW, Reason.AMBIGUOUS),
        (BAND, unsafe(0.699, "S9"), REVIEW, Reason.AMBIGUOUS),
        (BAND, unsafe(0.7, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (Policy(name="x", review_band=(0.5, 0.8)), Finding(0.49), SAFE, None),
        (Policy(name="x", review_band=(0.3, 0.5)), unsafe(0.5, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (Policy(name="x", unsafe_threshold=0.0), unsafe(0.0, "S9"), UNSAFE, Reason.LLAMA_GUARD),
        (DEFAULT_POLICY, Finding(0.9), REVIEW, Reason.UNPARSEABLE),  # unsafe, but of no category
        (BAND, Finding(0.5), REVIEW, Reason.UNPARSEABLE),
    ],
)
def test_a_score_is_judged_by_the_policy(policy: Policy, finding: Finding, label: Label, reason: Reason | None) -> None:
    decision = judged([finding], policy=policy)
    assert (decision.label, decision.reasons) == (label, (reason,) if reason else ())
    assert decision.unsafe_score == finding.score


LLAMA, AMBIGUOUS = [Reason.LLAMA_GUARD], [Reason.AMBIGUOUS]


@pytest.mark.parametrize(
    ("finding", "label", "reasons", "reported"),
    [
        # What has no rule acts as the policy says.
        (unsafe(0.59, "S9"), SAFE, [], ()),
        (unsafe(0.60, "S9"), UNSAFE, LLAMA, ("S9",)),
        # A threshold of its own, below and above the policy's: it is P(unsafe) that is compared, whatever the
        # category's own score is.
        (unsafe(0.19, "S4"), SAFE, [], ()),
        (unsafe(0.20, "S4", S4=0.01), UNSAFE, LLAMA, ("S4",)),
        (unsafe(0.89, "S5", S5=0.99), SAFE, [], ()),
        (unsafe(0.90, "S5", S5=0.01), UNSAFE, LLAMA, ("S5",)),
        # Actions.
        (unsafe(0.59, "S6"), SAFE, [], ()),
        (unsafe(0.60, "S6"), REVIEW, LLAMA, ("S6",)),
        (unsafe(0.99, "S6"), REVIEW, LLAMA, ("S6",)),
        (unsafe(0.30, "S7"), REVIEW, LLAMA, ("S7",)),
        (unsafe(0.99, "S8"), SAFE, [Reason.IGNORED_ONLY], ("S8",)),
        (unsafe(0.59, "S8"), SAFE, [], ()),
        # Bands of their own.
        (unsafe(0.39, "S12"), SAFE, [], ()),
        (unsafe(0.40, "S12"), REVIEW, AMBIGUOUS, ("S12",)),
        (unsafe(0.80, "S12"), UNSAFE, LLAMA, ("S12",)),
        (unsafe(0.30, "S11"), REVIEW, AMBIGUOUS, ("S11",)),
        (unsafe(0.50, "S11"), UNSAFE, LLAMA, ("S11",)),
        # Several at once: the most severe wins, and only what speaks is reported.
        (unsafe(0.70, "S6", "S9"), UNSAFE, LLAMA, ("S6", "S9")),
        (unsafe(0.70, "S8", "S6"), REVIEW, LLAMA, ("S8", "S6")),
        (unsafe(0.70, "S12", "S6"), REVIEW, [Reason.AMBIGUOUS, Reason.LLAMA_GUARD], ("S12", "S6")),
        (unsafe(0.70, "S12", "S9"), UNSAFE, [Reason.LLAMA_GUARD, Reason.AMBIGUOUS], ("S12", "S9")),
        (unsafe(0.70, "S5", "S6"), REVIEW, LLAMA, ("S6",)),
        (unsafe(0.30, "S9", "S4"), UNSAFE, LLAMA, ("S4",)),
        # Filtered.
        (unsafe(0.99, "S13"), SAFE, [Reason.EXCLUDED_ONLY], ()),
        (unsafe(0.99, "S13", "S8"), SAFE, [Reason.IGNORED_ONLY], ("S8",)),
        (unsafe(0.99, "S13", "S9"), UNSAFE, LLAMA, ("S9",)),
        (unsafe(0.70, "S13", "S5"), SAFE, [], ()),
        # A rule acts from 0.2 on, and which category it is cannot be known.
        (Finding(0.20), REVIEW, [Reason.UNPARSEABLE], ()),
        (Finding(0.19), SAFE, [], ()),
    ],
)
def test_each_category_acts_by_its_rule(
    finding: Finding, label: Label, reasons: list[Reason], reported: tuple[str, ...]
) -> None:
    decision = judged([finding], policy=RULES)
    assert (decision.label, list(decision.reasons), decision.violated_categories) == (label, reasons, reported)


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_severe_window_wins(order: int) -> None:
    windows = [unsafe(0.7, "S6"), unsafe(0.7, "S9"), unsafe(0.9, "S8")]
    decision = judged(windows[::order], policy=RULES)
    assert (decision.label, decision.reasons) == (UNSAFE, (Reason.LLAMA_GUARD,))
    assert set(decision.violated_categories) == {"S6", "S8", "S9"}


@pytest.mark.parametrize(
    ("scope", "content", "label", "reasons"),
    [
        ((Reason.IMAGE_REVIEW,), Finding(0.1), REVIEW, [Reason.IMAGE_REVIEW]),
        ((Reason.IMAGE_REVIEW,), unsafe(0.9, "S9"), UNSAFE, [Reason.LLAMA_GUARD, Reason.IMAGE_REVIEW]),
        ((Reason.IMAGES_IGNORED,), Finding(0.1), SAFE, [Reason.IMAGES_IGNORED]),
        ((Reason.IMAGES_IGNORED,), unsafe(0.9, "S9"), UNSAFE, [Reason.LLAMA_GUARD, Reason.IMAGES_IGNORED]),
    ],
)
def test_what_the_policy_says_of_the_event_counts(
    scope: tuple[Reason, ...], content: Finding, label: Label, reasons: list[Reason]
) -> None:
    decision = decide([answer(LLAMA_GUARD, [content])], DEFAULT_POLICY, scope)
    assert (decision.label, list(decision.reasons)) == (label, reasons)


def test_a_role_that_is_not_judged_is_safe_and_says_so() -> None:
    decision = decide([], DEFAULT_POLICY, (Reason.ROLE_NOT_JUDGED,))
    assert decision == Decision(SAFE, (Reason.ROLE_NOT_JUDGED,))


@pytest.mark.parametrize(
    ("policy", "score", "label", "reasons", "attack"),
    [
        (DEFAULT_POLICY, 0.49, SAFE, (), False),
        (DEFAULT_POLICY, 0.5, UNSAFE, (Reason.PROMPT_GUARD,), True),
        (REVIEWED, 0.79, SAFE, (), False),
        (REVIEWED, 0.8, REVIEW, (Reason.PROMPT_GUARD,), True),
        (IGNORED, 0.99, SAFE, (), True),
    ],
)
def test_an_attack_does_what_the_policy_says_and_is_always_reported(
    policy: Policy, score: float, label: Label, reasons: tuple[Reason, ...], attack: bool
) -> None:
    decision = judged([Finding(0.0)], [0.1, score, 0.2], policy)
    assert (decision.label, decision.reasons, decision.prompt_attack) == (label, reasons, attack)
    assert decision.attack_score == score


@pytest.mark.parametrize("guard", [LLAMA_GUARD, PROMPT_GUARD])
@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_goes_to_review_with_its_name(guard: str, fault: Fault) -> None:
    other = PROMPT_GUARD if guard == LLAMA_GUARD else LLAMA_GUARD
    decision = decide(
        [answer(guard, [Finding(0.0), Finding(None, fault=fault)]), answer(other, [Finding(0.0)])], IGNORED
    )
    assert (decision.label, decision.reasons) == (REVIEW, (Reason(fault.value),))


@pytest.mark.parametrize("guard", [LLAMA_GUARD, PROMPT_GUARD])
@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), -0.1])
def test_a_finding_without_a_score_that_is_a_probability_goes_to_review(guard: str, score: float | None) -> None:
    decision = decide([answer(guard, [Finding(score, ("S1",))])], IGNORED)
    assert decision.label is not SAFE
    assert Reason.UNPARSEABLE in decision.reasons


def test_a_score_that_is_no_number_hides_no_other() -> None:
    decision = judged([Finding(float("nan")), unsafe(0.9, "S1"), Finding(float("nan"))])
    assert (decision.label, decision.unsafe_score) == (UNSAFE, 0.9)


@pytest.mark.parametrize("guard", [LLAMA_GUARD, PROMPT_GUARD])
def test_incomplete_coverage_goes_to_review(guard: str) -> None:
    decision = decide([answer(guard, [Finding(0.0)], complete=False)], IGNORED)
    assert (decision.label, decision.reasons) == (REVIEW, (Reason.INCOMPLETE_COVERAGE,))


def test_incomplete_coverage_without_any_check_goes_to_review() -> None:
    assert decide([answer(LLAMA_GUARD, [], complete=False)], DEFAULT_POLICY).label is REVIEW


@pytest.mark.parametrize(
    ("content", "attacks", "policy", "reasons"),
    [
        ([unsafe(0.9, "S1"), Finding(None, fault=Fault.TOO_LARGE)], [], DEFAULT_POLICY, ["llama_guard", "too_large"]),
        ([Finding(None, fault=Fault.TOO_LARGE)], [0.9], DEFAULT_POLICY, ["prompt_guard", "too_large"]),
        ([unsafe(0.9, "S1")], [0.9], DEFAULT_POLICY, ["llama_guard", "prompt_guard"]),
        ([unsafe(0.9, "S1")], [0.9], REVIEWED, ["llama_guard", "prompt_guard"]),
        ([unsafe(0.5, "S1")], [0.9], BAND, ["prompt_guard", "ambiguous"]),
        ([unsafe(0.5, "S1"), unsafe(0.9, "S2")], [], BAND, ["llama_guard", "ambiguous"]),
        ([unsafe(0.9, "S6"), unsafe(0.9, "S1")], [], STRICT, ["llama_guard", "excluded_only"]),
        ([unsafe(0.9, "S6"), Finding(None, fault=Fault.GUARD_ERROR)], [], STRICT, ["guard_error", "excluded_only"]),
        ([unsafe(0.9, "S1")], [Finding(None, fault=Fault.GUARD_ERROR)], STRICT, ["llama_guard", "guard_error"]),
    ],
)
def test_the_most_severe_reason_gives_the_label_and_comes_first(
    content: list[Finding], attacks: list[float | Finding], policy: Policy, reasons: list[str]
) -> None:
    decision = judged(content, attacks, policy)
    assert list(decision.reasons) == reasons
    review_first = reasons[0] in {"guard_error", "ambiguous", "too_large"}
    assert decision.label is (REVIEW if review_first else UNSAFE)


def test_the_highest_of_all_windows_counts() -> None:
    decision = judged([Finding(0.1), unsafe(0.8, "S1"), unsafe(0.6, "S2"), Finding(0.2)], [0.1, 0.4, 0.2])
    assert (decision.unsafe_score, decision.attack_score) == (0.8, 0.4)


def test_the_categories_of_all_windows_are_joined_with_their_highest_scores() -> None:
    decision = judged([unsafe(0.8, "S9", "S1", S9=0.7, S1=0.2), Finding(0.1), unsafe(0.9, "S1", "S4", S1=0.6)])
    assert decision.violated_categories == ("S9", "S1", "S4")
    assert decision.category_scores == {"S9": 0.7, "S1": 0.6, "S4": 0.0}


def test_excluded_categories_are_never_reported() -> None:
    decision = judged([unsafe(0.8, "S6", "S9", S6=0.7, S9=0.2)], policy=STRICT)
    assert decision.violated_categories == ("S9",)
    assert set(decision.category_scores) == {"S9"}


def test_categories_of_a_harmless_window_are_not_reported() -> None:
    assert judged([unsafe(0.4, "S9", S9=0.9)]).violated_categories == ()


def test_an_ambiguous_verdict_names_its_categories() -> None:
    assert judged([unsafe(0.5, "S9")], policy=BAND).violated_categories == ("S9",)


def test_where_nothing_was_scored_there_are_no_scores() -> None:
    decision = decide([answer(LLAMA_GUARD, []), answer(PROMPT_GUARD, [])], DEFAULT_POLICY)
    assert (decision.unsafe_score, decision.attack_score, decision.prompt_attack) == (None, None, False)
