"""Explanation: why a verdict has its label, in one line for people. Never any content."""

from collections.abc import Callable, Mapping
from typing import Final

from worker.contract.verdict import Reason
from worker.moderation.decision import Decision
from worker.policy.policy import Policy
from worker.policy.taxonomy import CATEGORIES


def explain(decision: Decision, policy: Policy, *, stand_in: bool = False) -> str:
    """The label, every reason with the numbers that it follows from, and the policy.

    `stand_in`: a stand-in took part, and the line says so.
    """
    said = ", stand-in" if stand_in else ""
    if not decision.reasons and not decision.prompt_attack:  # as most are
        return f"safe: nothing found (policy {policy.name}{said})"
    why = [_WORDS[reason](decision, policy) for reason in decision.reasons]
    if decision.prompt_attack and Reason.PROMPT_GUARD not in decision.reasons:
        why.append(f"{_attack(decision, policy)}, ignored")
    return f"{decision.label.value}: {'; '.join(why)} (policy {policy.name}{said})"


def _content(decision: Decision, policy: Policy) -> str:
    bars = [policy.bars[key] for key in decision.violated_categories]
    acting = [bar.threshold for bar in bars if bar.action != "ignore" and _reached(decision, bar.threshold)]
    threshold = f" >= {min(acting):g}" if acting else ""
    return f"Llama Guard P(unsafe) {_score(decision.unsafe_score)}{threshold}{_categories(decision)}"


def _ambiguous(decision: Decision, policy: Policy) -> str:
    bands = {policy.bars[key].band for key in decision.violated_categories} - {None}
    where = " or ".join(f"{band[0]:g} to {band[1]:g}" for band in sorted(bands, key=str) if band)
    score = f"Llama Guard P(unsafe) {_score(decision.unsafe_score)}, "
    named = _categories(decision)
    if Reason.LLAMA_GUARD in decision.reasons:  # has said both
        score, named = "", ""
    return f"{score}ambiguous in the review band {where}{named}"


def _reached(decision: Decision, threshold: float) -> bool:
    return decision.unsafe_score is not None and decision.unsafe_score >= threshold


def _attack(decision: Decision, policy: Policy) -> str:
    return f"Prompt Guard P(prompt attack) {_score(decision.attack_score)} >= {policy.prompt_attack_threshold:g}"


def _categories(decision: Decision) -> str:
    scores = decision.category_scores
    return "".join(f", {key} {CATEGORIES[key]} {_score(scores.get(key))}" for key in decision.violated_categories)


def _score(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.4g}"


def _always(words: str) -> Callable[[Decision, Policy], str]:
    return lambda _decision, _policy: words


_WORDS: Final[Mapping[Reason, Callable[[Decision, Policy], str]]] = {
    Reason.LLAMA_GUARD: _content,
    Reason.PROMPT_GUARD: _attack,
    Reason.AMBIGUOUS: _ambiguous,
    Reason.IMAGE_REVIEW: _always("images go to review"),
    Reason.EXCLUDED_ONLY: _always("only excluded categories were found"),
    Reason.IGNORED_ONLY: lambda decision, _policy: f"only ignored categories were found{_categories(decision)}",
    Reason.ROLE_NOT_JUDGED: _always("messages of this role are not judged"),
    Reason.IMAGES_IGNORED: _always("its images were not looked at"),
    Reason.INCOMPLETE_COVERAGE: _always("part of the message could not be judged"),
    Reason.UNPARSEABLE: _always("an answer that is not of the guard's grammar"),
    Reason.TOO_LARGE: _always("too large for the device's memory"),
    Reason.GUARD_ERROR: _always("a guard failed"),
    Reason.GUARD_UNAVAILABLE: _always("a guard is down and was not asked"),
}
