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

_SAFE = Label.SAFE  # looked up once: of a plain decision, finding the enum's member is a fifth of the cost

_KNOWN_KEYS = frozenset(CATEGORY_KEYS)
_SEVERITY = {Label.SAFE: 0, Label.REVIEW: 1, Label.UNSAFE: 2}
_VOTES: dict[Reading, tuple[Reason, Label]] = {
    "unsafe": (Reason.LLAMA_GUARD, Label.UNSAFE),
    "review": (Reason.LLAMA_GUARD, Label.REVIEW),
    "ambiguous": (Reason.AMBIGUOUS, Label.REVIEW),
    "ignore": (Reason.IGNORED_ONLY, Label.SAFE),
}


_Scored = list[tuple[float, Finding]]


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
    unsafe_score = attack_score = None
    speaking: _Scored = []
    attacks: _Scored = []
    for answer in answers:
        if answer.guard == LLAMA_GUARD:
            unsafe_score = _read(answer.findings, policy.categories_wanted_from, speaking, votes)
        elif answer.guard == PROMPT_GUARD:
            attack_score = _read(answer.findings, policy.prompt_attack_threshold, attacks, votes)
    for answer in answers:
        if not answer.preparation.complete:
            votes[Reason.INCOMPLETE_COVERAGE] = Label.REVIEW
    if not (speaking or attacks or votes or scope):  # as most are
        return Decision(_SAFE, (), (), False, unsafe_score, attack_score)

    categories, category_scores = _judge_content(speaking, policy, votes)
    if attacks and policy.prompt_attack_action != "ignore":
        votes[Reason.PROMPT_GUARD] = Label(policy.prompt_attack_action)
    for reason in scope:
        votes[reason] = Label.REVIEW if reason is Reason.IMAGE_REVIEW else Label.SAFE

    reasons = sorted(votes, key=lambda reason: -_SEVERITY[votes[reason]]) if votes else []
    return Decision(
        label=votes[reasons[0]] if reasons else Label.SAFE,
        reasons=tuple(reasons),
        violated_categories=categories,
        prompt_attack=bool(attacks),
        unsafe_score=unsafe_score,
        attack_score=attack_score,
        category_scores=category_scores,
    )


def _read(findings: Sequence[Finding], threshold: float, reaching: _Scored, votes: dict[Reason, Label]) -> float | None:
    """The highest score of a guard; the findings that reach the threshold go to `reaching`. One that cannot be trusted
    is left out, and votes for review."""
    highest = None
    for finding in findings:
        score = finding.score
        if finding.fault is not None:
            votes[Reason(finding.fault.value)] = Label.REVIEW
        elif score is None or not (0 <= score <= 1 and _names_are_sound(finding)):  # NaN, too, is in no order
            votes[Reason.UNPARSEABLE] = Label.REVIEW
        else:
            if highest is None or score > highest:
                highest = score
            if score >= threshold:
                reaching.append((score, finding))
    return highest


def _names_are_sound(finding: Finding) -> bool:
    if not finding.categories and not finding.category_scores:  # as most are: this runs for every check
        return True
    known = set(finding.categories).union(finding.category_scores) <= _KNOWN_KEYS
    return known and all(0 <= score <= 1 for score in finding.category_scores.values())


def _judge_content(
    findings: _Scored, policy: Policy, votes: dict[Reason, Label]
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Votes on Llama Guard's windows with a score at which categories matter. Returns the union of the categories that
    speak, and their highest scores."""
    scores: dict[str, float] = {}
    for score, finding in findings:
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
