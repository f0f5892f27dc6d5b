"""Findings x policy -> label and reasons: a pure function, and the only place where a label is made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.contract.verdict import Label, Reason
from worker.guards.guard import Finding, Preparation
from worker.policy.policy import Policy

LLAMA_GUARD = "llama_guard"
PROMPT_GUARD = "prompt_guard"

_SEVERITY = {Label.SAFE: 0, Label.REVIEW: 1, Label.UNSAFE: 2}


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """What one guard said of an event."""

    guard: str
    preparation: Preparation
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Decision:
    """A label and why. Scores are probabilities; None where a guard gave none."""

    label: Label
    reasons: tuple[Reason, ...] = ()  # every one that spoke, the most severe first
    violated_categories: tuple[str, ...] = ()
    prompt_attack: bool = False
    unsafe_score: float | None = None
    attack_score: float | None = None
    category_scores: Mapping[str, float] = field(default_factory=dict)


def decide(answers: Sequence[GuardAnswer], policy: Policy) -> Decision:
    """The decision on an event. The most severe reason gives the label; what cannot be trusted goes to review, never
    to safe."""
    votes: dict[Reason, Label] = {}
    content = [finding for answer in answers if answer.guard == LLAMA_GUARD for finding in answer.findings]
    attacks = [finding for answer in answers if answer.guard == PROMPT_GUARD for finding in answer.findings]
    for finding in (finding for answer in answers for finding in answer.findings):
        if finding.fault is not None:
            votes[Reason(finding.fault.value)] = Label.REVIEW
        elif finding.score is None or not 0 <= finding.score <= 1:  # NaN, too, is in no order
            votes[Reason.UNPARSEABLE] = Label.REVIEW
    if not all(answer.preparation.complete for answer in answers):
        votes[Reason.INCOMPLETE_COVERAGE] = Label.REVIEW

    categories, category_scores = _judge_content(content, policy, votes)
    attack_score = _highest(attacks)
    attack = attack_score is not None and attack_score >= policy.prompt_attack_threshold
    if attack and policy.prompt_attack_action != "ignore":
        votes[Reason.PROMPT_GUARD] = Label(policy.prompt_attack_action)

    reasons = sorted(votes, key=lambda reason: -_SEVERITY[votes[reason]])
    return Decision(
        label=votes[reasons[0]] if reasons else Label.SAFE,
        reasons=tuple(reasons),
        violated_categories=categories,
        prompt_attack=attack,
        unsafe_score=_highest(content),
        attack_score=attack_score,
        category_scores=category_scores,
    )


def _judge_content(
    findings: Sequence[Finding], policy: Policy, votes: dict[Reason, Label]
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Votes on Llama Guard's windows. Returns the union of the categories that the policy wants, and their highest
    scores."""
    scores: dict[str, float] = {}
    for finding in findings:
        if finding.score is None or (reason := _reason_of(finding.score, policy)) is None:
            continue
        if not finding.categories:  # unsafe without a category is not the guard's grammar
            votes[Reason.UNPARSEABLE] = Label.REVIEW
            continue
        wanted = [key for key in finding.categories if key not in policy.excluded_categories]
        if not wanted:
            votes.setdefault(Reason.EXCLUDED_ONLY, Label.SAFE)
            continue
        votes[reason] = Label.UNSAFE if reason is Reason.LLAMA_GUARD else Label.REVIEW
        for key in wanted:
            scores[key] = max(scores.get(key, 0.0), finding.category_scores.get(key, 0.0))
    return tuple(scores), scores


def _reason_of(score: float, policy: Policy) -> Reason | None:
    if policy.review_band and policy.review_band[0] <= score < policy.review_band[1]:
        return Reason.AMBIGUOUS
    return Reason.LLAMA_GUARD if score >= policy.unsafe_threshold else None


def _highest(findings: Sequence[Finding]) -> float | None:
    scores = (finding.score for finding in findings if finding.score is not None)
    return max((score for score in scores if not math.isnan(score)), default=None)
