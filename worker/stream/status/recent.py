"""The last outcomes, without content."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from worker.contract.dead_letter import DeadLetter
from worker.contract.record import header
from worker.contract.verdict import Label, PolicyRef, Source, Verdict
from worker.stream.work import Work

_MOST: Final = 20
_LONGEST_ID: Final = 80  # characters; senders choose it


class _Recent(NamedTuple):
    """As much of a verdict as is kept: neither its event nor its metadata, which may be large and are content."""

    decided_at: datetime
    latency: float
    verdict_id: str
    event_id: str
    tenant: str | None
    label: Label
    categories: tuple[str, ...]
    policy: PolicyRef
    source: Source
    explanation: str
    cached: bool


class RecentOutcomes:
    """The last verdicts and dead letters that the broker confirmed. Written by the event loop's thread, read by any."""

    def __init__(self, most: int = _MOST, now: Callable[[], float] = time.time) -> None:
        """`most`: of each label, and of dead letters. `now`: seconds since the epoch."""
        self._most, self._now = most, now
        # By label: else a thousand safe ones a second would leave none of the others to be seen.
        self._verdicts: dict[Label, deque[_Recent]] = {label: deque(maxlen=most) for label in Label}
        self._letters: deque[tuple[float, float, str, str]] = deque(maxlen=most)

    def confirmed(self, works: Sequence[Work], now: float) -> None:
        """These have their outcomes; `now` is on the clock of their arrival. Runs for every batch: nothing is formatted
        here, and of a large batch only the last ones of each kind are looked at closely."""
        letters: list[tuple[float, float, str, str]] = []  # the newest first, and so with the verdicts
        verdicts: dict[Label, list[_Recent]] = {label: [] for label in self._verdicts}
        for work in reversed(works):
            outcome = work.outcome
            if isinstance(outcome, Verdict):
                if len(alike := verdicts[outcome.label]) < self._most:
                    alike.append(_recent(outcome, now - work.arrived))
            elif outcome is not None and len(letters) < self._most:
                letters.append((self._now(), now - work.arrived, _place_of(outcome), outcome.error_type))
        self._letters.extend(reversed(letters))
        for label, alike in verdicts.items():
            self._verdicts[label].extend(reversed(alike))

    def rows(self, tenants: Collection[str] = ()) -> list[dict[str, Any]]:
        """What is kept, the newest first. `tenants`: the names that may be told; all others are `other`."""
        letters = [_letter_row(*each) for each in self._letters.copy()]
        kept = (each for label in self._verdicts.values() for each in label.copy())
        verdicts = (_verdict_row(each, tenants) for each in kept)
        return sorted([*letters, *verdicts], key=lambda row: -row["at"])


def _recent(one: Verdict, seconds: float) -> _Recent:
    return _Recent(
        one.decided_at,
        seconds,
        one.verdict_id,
        one.event_id,
        one.tenant,
        one.label,
        one.violated_categories,
        one.policy,
        one.source,
        one.explanation,
        one.cached,
    )


def _verdict_row(one: _Recent, tenants: Collection[str]) -> dict[str, Any]:
    return {
        "at": one.decided_at.timestamp(),
        "outcome": one.label.value,
        "seconds": one.latency,
        "verdict_id": one.verdict_id,
        "event_id": _short(one.event_id),
        "tenant": one.tenant if one.tenant is None or one.tenant in tenants else "other",
        "categories": list(one.categories),
        "policy": one.policy.name,
        "policy_hash": one.policy.hash,
        "place": f"{one.source.partition}/{one.source.offset}",
        "explanation": one.explanation,
        "cached": one.cached,
    }


def _letter_row(at: float, seconds: float, place: str, cause: str) -> dict[str, Any]:
    return {"at": at, "outcome": "dead_letter", "seconds": seconds, "place": place, "explanation": cause}


def _place_of(letter: DeadLetter) -> str:
    names = (f"moderation-source-{name}" for name in ("partition", "offset"))
    return "/".join((header(letter.headers, name) or b"").decode("utf-8", "replace") for name in names)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_ID else name[: _LONGEST_ID - 1] + "…"
