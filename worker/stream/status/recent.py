"""The last outcomes, without content."""

import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

from worker.contract.dead_letter import DeadLetter
from worker.contract.record import header
from worker.contract.verdict import Label, PolicyRef, Source, Verdict

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
        self._now = now
        # By label: else a thousand safe ones a second would leave none of the others to be seen.
        self._verdicts: dict[Label, deque[tuple[Any, ...]]] = {label: deque(maxlen=most) for label in Label}
        self._letters: deque[tuple[float, float, str, str]] = deque(maxlen=most)

    def verdict(self, one: Verdict, seconds: float) -> None:
        """A verdict was confirmed, so many seconds after its event's arrival. Runs for every event: nothing is
        formatted here."""
        # A plain tuple in _Recent's order, which costs a fifth of making one.
        self._verdicts[one.label].append(
            (
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
        )

    def dead_letter(self, letter: DeadLetter, seconds: float) -> None:
        """The same of a dead letter."""
        self._letters.append((self._now(), seconds, _place_of(letter), letter.error_type))

    def rows(self, tenants: Collection[str] = ()) -> list[dict[str, Any]]:
        """What is kept, the newest first. `tenants`: the names that may be told; all others are `other`."""
        letters = [_letter_row(*each) for each in self._letters.copy()]
        kept = (each for label in self._verdicts.values() for each in map(_Recent._make, label.copy()))
        verdicts = (_verdict_row(each, tenants) for each in kept)
        return sorted([*letters, *verdicts], key=lambda row: -row["at"])


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
