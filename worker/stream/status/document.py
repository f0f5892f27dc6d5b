"""What the status page shows, as JSON. Nothing secret, and nothing that people wrote but their events' ids."""

import time
from collections.abc import Callable
from typing import Any, Final

from worker import __version__
from worker.contract.verdict import Label
from worker.moderation.guard_breaker import State
from worker.observability.health import Health
from worker.policy.taxonomy import CATEGORIES
from worker.settings import Settings
from worker.stream.live_policies import LivePolicies
from worker.stream.status.history import FIGURE_SECONDS, LABELS, QUANTILES, SECONDS, History, fill
from worker.stream.status.reading import Reading, Span
from worker.stream.status.recent import RecentOutcomes

Document = dict[str, Any]

_MOST_LISTED: Final = 50
_RATE_SECONDS: Final = 10  # what rates of now are taken over
_BREAKER: Final = {State.CLOSED: "closed", State.OPEN: "open", State.HALF_OPEN: "half-open"}


class Status:
    """Puts the document together when somebody asks."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        recent: RecentOutcomes,
        history: History,
        policies: Callable[[], LivePolicies | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`policies`: None until they are read. `clock`: that of the history's readings."""
        self._settings, self._health, self._recent, self._history = settings, health, recent, history
        self._policies, self._clock = policies, clock
        self._began = clock()

    def document(self) -> Document:
        """The status now. On any thread."""
        now, policies = self._history.now, self._policies()
        return {
            "worker": self._worker(now),
            "models": _models(now),
            "figures": self._figures(now),
            "guards": [_guard(name, self._history.span(FIGURE_SECONDS)) for name in now.by("guard_breaker_state")],
            "outcomes": {label: now.value("verdicts", label) for label in LABELS}
            | {"dead_letter": now.total("dead_letters")},
            "dead_letters": self._dead_letters(now),
            "lag": dict(sorted(now.by("consumer_lag").items(), key=lambda each: -each[1])[:_MOST_LISTED]),
            "policies": _policies(now, policies),
            "shadow": self._shadow(now) if self._settings.shadow_policy else None,
            "reviews": _reviews(now) if self._settings.reviews_topic else None,
            "categories": self._categories(now),
            "plots": {"seconds": SECONDS, **self._history.plots()},
            "last": self._recent.rows(policies.tenants if policies else ()),
        }

    def _worker(self, now: Reading) -> Document:
        live, ready = self._health.live(), self._health.ready()
        return {
            "version": __version__,
            "group": self._settings.group,
            "input_topic": self._settings.input_topic,
            "phase": live.phase.value,
            "live": live.ok,
            "ready": ready.ok,
            "why": ready.why if live.ok else live.why,
            "up_seconds": round(self._clock() - self._began),
            "reading_seconds": round(self._clock() - now.at, 1),
            "time": time.time(),
        }

    def _figures(self, now: Reading) -> Document:
        lately, minute = self._history.span(_RATE_SECONDS), self._history.span(FIGURE_SECONDS)
        verdicts = minute.more_in_all("verdicts")
        outcomes = lately.more_in_all("verdicts") + lately.more_in_all("dead_letters")
        lookups = minute.more_in_all("verdict_cache_lookups")
        return {
            "in_rate": lately.rate(lately.more("records")),
            "out_rate": lately.rate(outcomes),
            **{name: minute.latency(quantile) for name, quantile in QUANTILES.items()},
            "lag": now.total("consumer_lag") if now.by("consumer_lag") else None,
            "partitions": now.value("partitions_assigned"),
            "in_flight_events": now.value("in_flight_events"),
            "most_in_flight_events": self._settings.max_in_flight_events,
            "in_flight_bytes": now.value("in_flight_bytes"),
            "most_in_flight_bytes": self._settings.max_in_flight_bytes,
            "oldest_seconds": now.value("oldest_unfinished_seconds"),
            "busy": min(1.0, lately.rate(lately.more("device_busy_seconds"))),
            "memory": now.by("device_memory_bytes") or None,
            "fill": fill(minute),
            "review_share": minute.more("verdicts", "review") / verdicts if verdicts else None,
            "cached_share": 1 - minute.more("verdict_cache_lookups", "miss") / lookups if lookups else None,
            "prompt_attacks": now.total("prompt_attacks"),
            "suspects": now.total("suspects"),
        }

    def _dead_letters(self, now: Reading) -> list[Document]:
        lately = self._history.dead_letters()
        causes = sorted(now.by("dead_letters").items(), key=lambda each: -each[1])
        return [{"cause": cause, "total": n, "lately": lately.get(cause, 0)} for cause, n in causes if n]

    def _shadow(self, now: Reading) -> Document:
        pairs = now.families.get("shadow_verdicts", {})
        return {
            "policy": self._settings.shadow_policy,
            "share": self._settings.shadow_share,
            "verdicts": now.total("shadow_verdicts"),
            "differ": sum(n for (main, shadow), n in pairs.items() if main != shadow),
            "dropped": {reason: n for reason, n in now.by("shadow_dropped").items() if n},
            "errors": now.total("shadow_errors"),
        }

    def _categories(self, now: Reading) -> list[Document]:
        strips, totals = self._history.categories(), now.by("violations")
        return [
            {"key": key, "name": name, "total": totals[key], "strip": strips.get(key, [])}
            for key, name in CATEGORIES.items()
            if totals.get(key)
        ]


def _models(now: Reading) -> list[Document]:
    known = now.families.get("model_info", {})
    return [{"id": each[0], "revision": each[1], "stand_in": each[2] == "true"} for each in known]


def _guard(name: str, span: Span) -> Document:
    batches, checks = span.more("batches", name), span.more("batch_checks", name)
    faults = {key[1]: n for key, n in span.now.families.get("faults", {}).items() if key[0] == name and n}
    return {
        "name": name,
        "breaker": _BREAKER[State(int(span.now.value("guard_breaker_state", name)))],
        "batches_rate": span.rate(batches),
        "checks_rate": span.rate(checks),
        "checks_a_batch": checks / batches if batches else None,
        "fill": span.share("batch_padded_tokens", "batch_budget_tokens", name),
        "useful": span.share("batch_tokens", "batch_padded_tokens", name),
        "faults": faults,
    }


def _reviews(now: Reading) -> Document:
    judged = {  # what the worker had decided itself, and a person says the same or the contrary
        (verdict, person): n
        for (_policy, verdict, person), n in now.families.get("reviews", {}).items()
        if verdict in (Label.SAFE, Label.UNSAFE)
    }
    return {
        "decisions": now.total("reviews"),
        "of_decided": sum(judged.values()),
        "overturned": sum(n for (verdict, person), n in judged.items() if verdict != person),
        "unread": bool(now.total("reviews_unread")),
    }


def _policies(now: Reading, policies: LivePolicies | None) -> Document:
    named = policies.store.names if policies else ()
    listed = [(name, policies.store.named(name)) for name in named[:_MOST_LISTED]] if policies else []
    return {
        "listed": [{"name": name, "hash": policy.hash} for name, policy in listed if policy],
        "more": max(0, len(named) - _MOST_LISTED),
        "tenants": len(policies.store.tenants) if policies else 0,
        "loaded_at": now.total("policies_loaded_timestamp_seconds") or None,
        "reloads": now.by("policy_reloads"),
        "refused": bool(now.total("policies_refused")),
    }
