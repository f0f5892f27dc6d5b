"""The one protocol of all guards, and the values that pass through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from worker.contract.chat_event import ChatEvent
from worker.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which weights a guard runs on."""

    id: str  # hub id, or the directory's name
    revision: str  # commit on the hub, or "local-" and a content hash; "+int8" behind it for quantised weights
    stand_in: bool


class Fault(StrEnum):
    """Why a finding has no trustworthy score. The words are reasons of verdicts."""

    UNPARSEABLE = "unparseable"
    TOO_LARGE = "too_large"
    GUARD_ERROR = "guard_error"
    GUARD_UNAVAILABLE = "guard_unavailable"


@dataclass(frozen=True, slots=True)
class Check:
    """One piece of work for one guard: a Llama Guard prompt, a Prompt Guard window."""

    tokens: int  # its cost in a batch: the tokens that the guard computes for it
    payload: Any  # the guard's own prepared input; nobody else looks inside


@dataclass(frozen=True, slots=True)
class Finding:
    """A guard's answer to one check."""

    score: float | None  # probability of a violation, 0 to 1; None with a fault
    categories: tuple[str, ...] = ()  # keys in the guard's order, excluded ones included: the decision drops them
    category_scores: Mapping[str, float] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """The checks of one event for one guard, and what they cover of it."""

    checks: Sequence[Check]
    images: int = 0  # images in the checks
    turns_dropped: int = 0  # oldest turns left out
    complete: bool = True  # False: part of the last message is in no check
    delimiters_neutralised: int = 0  # imitations, in the content, of what the guard's prompt writes around it


@runtime_checkable
class Guard(Protocol):
    """A model that judges. `prepare` runs on several CPU threads at once, `judge` on the one thread that owns the
    device."""

    @property
    def name(self) -> str:
        """`llama_guard` or `prompt_guard`: the reason in verdicts, the label in metrics."""

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The weights behind this guard's findings."""

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        """The checks of an event under a policy; none where there is nothing for this guard.

        Thread-safe. Raises Unjudgeable where the content can never be judged (a broken image, say).
        """

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        """One finding a check: same length, same order. Raises what the device raises; the runner isolates the
        culprit."""
