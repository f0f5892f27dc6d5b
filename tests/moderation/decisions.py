"""What guards say, made by hand, and policies to decide by."""

from collections.abc import Sequence
from typing import Any

from worker.contract.verdict import Label
from worker.guards.guard import Check, Finding, Preparation
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, Decision, GuardAnswer, decide
from worker.policy.policy import DEFAULT_POLICY, Policy

SAFE, REVIEW, UNSAFE = Label.SAFE, Label.REVIEW, Label.UNSAFE
SEVERITY = [SAFE, REVIEW, UNSAFE].index
BAND = Policy(name="band", review_band=(0.3, 0.7))
STRICT = Policy(name="strict", unsafe_threshold=0.2, excluded_categories=("S6", "S13"))
REVIEWED = Policy(name="reviewed", prompt_attack_action="review", prompt_attack_threshold=0.8)
IGNORED = Policy(name="ignored", prompt_attack_action="ignore")
RULES = Policy(
    name="rules",
    unsafe_threshold=0.6,
    excluded_categories=("S13",),
    excluded_mode="filter",
    categories={
        "S4": {"threshold": 0.2},  # strict
        "S5": {"threshold": 0.9},  # lenient
        "S6": {"action": "review"},
        "S7": {"action": "review", "threshold": 0.3},
        "S8": {"action": "ignore"},
        "S12": {"review_band": (0.4, 0.8)},
        "S11": {"threshold": 0.5, "review_band": (0.3, 0.5)},
    },
)


def unsafe(score: float, *categories: str, **category_scores: float) -> Finding:
    return Finding(score, categories, category_scores)


def answer(guard: str, findings: Sequence[Finding], **preparation: Any) -> GuardAnswer:
    return GuardAnswer(guard, Preparation([Check(1, None) for _ in findings], **preparation), findings)


def judged(
    content: Sequence[Finding], attacks: Sequence[float | Finding] = (), policy: Policy = DEFAULT_POLICY
) -> Decision:
    windows = [each if isinstance(each, Finding) else Finding(each) for each in attacks]
    return decide([answer(LLAMA_GUARD, content), answer(PROMPT_GUARD, windows)], policy)
