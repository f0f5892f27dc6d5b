"""Explanations: each reason in words, with the numbers that it follows from, and nothing of the content."""

from typing import Any

import pytest

from worker.contract.verdict import Label, Reason
from worker.guards.guard import Check, Fault, Finding, Preparation
from worker.moderation.decision import LLAMA_GUARD, PROMPT_GUARD, Decision, GuardAnswer, decide
from worker.moderation.explanation import explain
from worker.policy.policy import Policy

POLICY = Policy(
    name="museum",
    review_band=(0.4, 0.6),
    excluded_categories=("S13",),
    categories={"S1": {"threshold": 0.123}, "S2": {"action": "review"}, "S3": {"action": "ignore"}},
    prompt_attack_threshold=0.9,
)


def explained(*content: Finding, attack: float = 0.01, scope: tuple[Reason, ...] = (), **given: Any) -> str:
    policy = given.pop("policy", POLICY)
    checks = [Check(1, None)]
    answers = [
        GuardAnswer(LLAMA_GUARD, Preparation(checks, **given), content),
        GuardAnswer(PROMPT_GUARD, Preparation(checks), [Finding(attack)]),
    ]
    return explain(decide(answers, policy, scope), policy)


def unsafe(score: float, **scores: float) -> Finding:
    return Finding(score, tuple(scores), scores)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (explained(Finding(0.01)), "safe: nothing found"),
        (
            explained(unsafe(0.98123, S9=0.97)),
            "unsafe: Llama Guard P(unsafe) 0.9812 >= 0.5, S9 Indiscriminate Weapons 0.97",
        ),
        (
            explained(unsafe(0.98, S9=0.9, S1=0.05)),
            "unsafe: Llama Guard P(unsafe) 0.98 >= 0.123, S9 Indiscriminate Weapons 0.9, S1 Violent Crimes 0.05",
        ),
        (explained(unsafe(0.7, S2=0.6)), "review: Llama Guard P(unsafe) 0.7 >= 0.5, S2 Non-Violent Crimes 0.6"),
        (explained(unsafe(0.7, S3=0.6)), "safe: only ignored categories were found, S3 Sex-Related Crimes 0.6"),
        (explained(unsafe(0.7, S13=0.6)), "safe: only excluded categories were found"),
        (
            explained(unsafe(0.45, S9=0.8)),
            "review: Llama Guard P(unsafe) 0.45, ambiguous in the review band 0.4 to 0.6, "
            "S9 Indiscriminate Weapons 0.8",
        ),
        (
            explained(unsafe(0.45, S9=0.8, S1=0.1)),
            "unsafe: Llama Guard P(unsafe) 0.45 >= 0.123, S9 Indiscriminate Weapons 0.8, S1 Violent Crimes 0.1; "
            "ambiguous in the review band 0.4 to 0.6",
        ),
        (explained(attack=0.95), "unsafe: Prompt Guard P(prompt attack) 0.95 >= 0.9"),
        (explained(Finding(0.1), complete=False), "review: part of the message could not be judged"),
        (explained(Finding(None, fault=Fault.TOO_LARGE)), "review: too large for the device's memory"),
        (explained(Finding(0.1), scope=(Reason.IMAGE_REVIEW,)), "review: images go to review"),
        (explained(Finding(0.1), scope=(Reason.IMAGES_IGNORED,)), "safe: its images were not looked at"),
        (
            explained(unsafe(0.9, S9=0.8), Finding(None, fault=Fault.GUARD_ERROR), attack=0.97),
            "unsafe: Llama Guard P(unsafe) 0.9 >= 0.5, S9 Indiscriminate Weapons 0.8; "
            "Prompt Guard P(prompt attack) 0.97 >= 0.9; a guard failed",
        ),
    ],
)
def test_a_verdict_explains_itself(line: str, words: str) -> None:
    assert line == f"{words} (policy museum)"


def test_an_attack_that_is_ignored_is_told() -> None:
    ignoring = Policy(name="lax", prompt_attack_action="ignore")
    assert (
        explained(Finding(0.1), attack=0.95, policy=ignoring)
        == "safe: Prompt Guard P(prompt attack) 0.95 >= 0.5, ignored (policy lax)"
    )


def test_a_stand_in_is_named() -> None:
    assert explain(Decision(Label.SAFE), POLICY, stand_in=True) == "safe: nothing found (policy museum, stand-in)"


@pytest.mark.parametrize("reason", list(Reason))
def test_there_are_words_for_every_reason(reason: Reason) -> None:
    line = explain(Decision(Label.REVIEW, (reason,)), POLICY)
    assert line.startswith("review: ") and line.endswith(" (policy museum)")
    assert "\n" not in line
