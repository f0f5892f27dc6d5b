"""Findings x policy -> label and reasons: a pure function, and the only place where a label is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.contract.verdict import Label, Reason
from worker.guards.guard import Finding, Preparation
from worker.policy.category_rule import Reading
from worker.policy.policy import Policy
from worker.policy.taxonomy import CATEGORY_KEYS

LLAMA_GUARD = "llama_guard"
PROMPT_GUARD = "prompt_guard"

_KNOWN_KEYS = frozenset(CATEGORY_KEYS)
_SEVERITY = {Label.SAFE: 0, Label.REVIEW: 1, Label.UNSAFE: 2}
_VOTES: dict[Reading, tuple[Reason, Label]] = {
    "unsafe": (Reason.LLAMA_GUARD, Label.UNSAFE),
    "review": (Reason.LLAMA_GUARD, Label.REVIEW),
    "ambiguous": (Reason.AMBIGUOUS, Label.REVIEW),
    "ignore": (Reason.IGNORED_ONLY, Label.SAFE),
}


@dataclass(slots=True)
class GuardAnswer:
    """What one guard said of an event."""

    guard: str
    preparation: Preparation
    findings: Sequence[Finding] = ()  # one a check, once it is judged


@dataclass(slots=True)
class Decision:
    """A label and why. Scores are probabilities; None where a guard gave none."""

    label: Label
    reasons: tuple[Reason, ...] = ()  # every one that spoke, the most severe first
    violated_categories: tuple[str, ...] = ()
    prompt_attack: bool = False
    unsafe_score: float | None = None
    attack_score: float | None = None
    category_scores: Mapping[str, float] = field(default_factory=dict)


def decide(answers: Sequence[GuardAnswer], policy: Policy, scope: Sequence[Reason] = ()) -> Decision:
    """The decision on an event. The most severe reason gives the label; what cannot be trusted goes to review, never
    to safe. `scope` is what the policy itself says of the event (see `scope_of`)."""
    votes: dict[Reason, Label] = {}
    content = _trusted(LLAMA_GUARD, answers, votes)
    attacks = _trusted(PROMPT_GUARD, answers, votes)
    for answer in answers:
        if not answer.preparation.complete:
            votes[Reason.INCOMPLETE_COVERAGE] = Label.REVIEW

    categories, category_scores = _judge_content(content, policy, votes)
    attack_score = _highest(attacks)
    attack = attack_score is not None and attack_score >= policy.prompt_attack_threshold
    if attack and policy.prompt_attack_action != "ignore":
        votes[Reason.PROMPT_GUARD] = Label(policy.prompt_attack_action)
    for reason in scope:
        votes[reason] = Label.REVIEW if reason is Reason.IMAGE_REVIEW else Label.SAFE

    reasons = sorted(votes, key=lambda reason: -_SEVERITY[votes[reason]]) if votes else []
    return Decision(
        label=votes[reasons[0]] if reasons else Label.SAFE,
        reasons=tuple(reasons),
        violated_categories=categories,
        prompt_attack=attack,
        unsafe_score=_highest(content),
        attack_score=attack_score,
        category_scores=category_scores,
    )


def _trusted(guard: str, answers: Sequence[GuardAnswer], votes: dict[Reason, Label]) -> list[tuple[float, Finding]]:
    """A guard's findings with their scores. One that cannot be trusted is left out, and votes for review."""
    trusted = []
    for answer in answers:
        if answer.guard != guard:
            continue
        for finding in answer.findings:
            if finding.fault is not None:
                votes[Reason(finding.fault.value)] = Label.REVIEW
            elif finding.score is None or not _is_sound(finding):
                votes[Reason.UNPARSEABLE] = Label.REVIEW
            else:
                trusted.append((finding.score, finding))
    return trusted


def _is_sound(finding: Finding) -> bool:
    if finding.score is None or not 0 <= finding.score <= 1:  # NaN, too, is in no order
        return False
    if not finding.categories and not finding.category_scores:  # as most are: this runs for every check
        return True
    known = set(finding.categories).union(finding.category_scores) <= _KNOWN_KEYS
    return known and all(0 <= score <= 1 for score in finding.category_scores.values())


def _judge_content(
    findings: Sequence[tuple[float, Finding]], policy: Policy, votes: dict[Reason, Label]
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Votes on Llama Guard's windows. Returns the union of the categories that speak, and their highest scores."""
    scores: dict[str, float] = {}
    for score, finding in findings:
        if score < policy.categories_wanted_from:
            continue
        if not finding.categories:  # unsafe without a category is not the guard's grammar
            _vote(votes, Reason.UNPARSEABLE, Label.REVIEW)
            continue
        bars = policy.bars
        wanted = [key for key in finding.categories if key in bars]
        if not wanted:
            _vote(votes, Reason.EXCLUDED_ONLY, Label.SAFE)
        for key in wanted:
            reading = bars[key].reads(score)
            if reading is None:
                continue
            _vote(votes, *_VOTES[reading])
            scores[key] = max(scores.get(key, 0.0), finding.category_scores.get(key, 0.0))
    if Reason.IGNORED_ONLY in votes and (Reason.LLAMA_GUARD in votes or Reason.AMBIGUOUS in votes):
        del votes[Reason.IGNORED_ONLY]
    return tuple(scores), scores


def _vote(votes: dict[Reason, Label], reason: Reason, label: Label) -> None:
    """A reason counts as the most severe of its votes."""
    if reason not in votes or _SEVERITY[label] > _SEVERITY[votes[reason]]:
        votes[reason] = label


def _highest(findings: Sequence[tuple[float, Finding]]) -> float | None:
    return max([score for score, _ in findings], default=None)
