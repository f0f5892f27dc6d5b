"""What the status page is told: figures that follow from the metrics, bounded, and nothing of what people wrote."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from tests.stream.test_outcome_counts import verdict
from tests.stream.works import work
from worker.contract.chat_event import ChatEvent
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.verdict import Label, Source
from worker.observability import metrics
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.kafka.raw_records import RawRecord
from worker.stream.live_policies import LivePolicies
from worker.stream.status.document import Status
from worker.stream.status.history import CELL_SECONDS, SECONDS, History
from worker.stream.status.page import page, page_headers
from worker.stream.status.reading import Reading, Span, read
from worker.stream.status.recent import RecentOutcomes
from worker.stream.status.sampler import Sampler

POLICIES = '[policies.strict]\nunsafe_threshold = 0.3\n[tenants]\nacme = "strict"\n'
SETTINGS: dict[str, Any] = {"sasl_password": "sesame", "hf_token": "hf_sesame", "group": "readers"}
SECURITY = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "user-sesame"}
BOUNDS = metrics.END_TO_END.bounds


class Worker:
    """A worker of this size a second, as its metrics would tell."""

    def __init__(self) -> None:
        self.at = 0.0
        self.families: dict[str, dict[tuple[str, ...], float]] = {}
        self.latencies = [0] * (len(BOUNDS) + 1)
        self.history = History(self.read)

    def read(self) -> Reading:
        return Reading(self.at, {name: dict(each) for name, each in self.families.items()}, tuple(self.latencies))

    def add(self, name: str, amount: float, *labels: str) -> None:
        series = self.families.setdefault(name, {})
        series[labels] = series.get(labels, 0.0) + amount

    def second(self, seconds: int = 1, **growth: float) -> None:
        """So many seconds of 10 records, 8 safe, 1 unsafe (S9), 1 dead letter each, half of them in 30 ms."""
        for _ in range(seconds):
            self.at += 1.0
            self.add("records", growth.get("records", 10))
            self.add("verdicts", 8, "safe")
            self.add("verdicts", 1, "unsafe")
            self.add("violations", 1, "S9")
            self.add("dead_letters", 1, "not_json")
            self.latencies[3] += 5
            self.latencies[5] += 5
            self.add("device_busy_seconds", 0.25)
            self.add("batch_padded_tokens", 300, "llama_guard")
            self.add("batch_budget_tokens", 1000, "llama_guard")
            self.history.sample()


def status(
    worker: Worker, recent: RecentOutcomes | None = None, policies: LivePolicies | None = None, **more: object
) -> Status:
    settings = Settings.model_validate({**SETTINGS, **SECURITY, **more})
    health = Health(120, 15, lambda: worker.at)
    health.phase = Phase.RUNNING
    clock = lambda: worker.at  # noqa: E731
    return Status(settings, health, recent or RecentOutcomes(), worker.history, lambda: policies, clock)


@pytest.fixture
def policies(tmp_path: Path) -> Iterator[LivePolicies]:
    (tmp_path / "policies.toml").write_text(POLICIES)
    yield LivePolicies(Settings.model_validate({"policies_file": tmp_path / "policies.toml"}))


def test_rates_and_shares_are_of_the_last_seconds() -> None:
    worker = Worker()
    worker.second(30)
    figures = status(worker).document()["figures"]
    assert (figures["in_rate"], figures["out_rate"], figures["busy"], figures["fill"]) == (10, 10, 0.25, 0.3)
    assert figures["review_share"] == 0
    worker.add("verdicts", 9 * 30, "review")
    worker.second()
    assert figures["review_share"] < status(worker).document()["figures"]["review_share"] < 0.5


def test_quantiles_are_as_prometheus_estimates_them() -> None:
    worker = Worker()
    worker.second(5)
    span = worker.history.span(60)
    assert BOUNDS[2:6] == (0.025, 0.05, 0.1, 0.25)
    assert span.latency(0.5) == pytest.approx(0.05)
    assert span.latency(0.95) == pytest.approx(0.1 + 0.15 * 0.9)
    beyond = replace(worker.read(), latencies=(*[0] * len(BOUNDS), 1))
    assert Span(Reading(0, {}, ()), beyond).latency(0.5) == BOUNDS[-1]
    assert Span(beyond, beyond).latency(0.5) is None


def test_nothing_yet_is_told_as_nothing() -> None:
    worker = Worker()
    document = status(worker).document()
    assert [document["figures"][name] for name in ("p99", "lag", "fill", "review_share", "memory")] == [None] * 5
    assert document["figures"]["out_rate"] == 0
    assert document["plots"]["lines"] == {}
    assert document["last"] == document["models"] == document["policies"]["listed"] == []


def test_plots_have_five_minutes_however_long_it_runs() -> None:
    worker = Worker()
    worker.second(SECONDS + 500)
    plots = status(worker).document()["plots"]
    assert plots["ago"][0] == SECONDS - 1
    assert plots["ago"][-1] == 0
    assert {len(line) for line in plots["lines"].values()} == {SECONDS}
    assert set(plots["lines"]["unsafe"]) == {1}
    assert len(worker.history._readings) <= 61


def test_categories_have_cells_of_ten_seconds() -> None:
    worker = Worker()
    worker.second(25)
    (category,) = status(worker).document()["categories"]
    assert (category["key"], category["name"], category["total"]) == ("S9", "Indiscriminate Weapons", 25)
    assert category["strip"][-3:] == [5, CELL_SECONDS, CELL_SECONDS]
    assert sum(category["strip"]) == 25


def test_dead_letters_by_cause() -> None:
    worker = Worker()
    worker.add("dead_letters", 0, "not_utf8")
    worker.second(2)
    assert status(worker).document()["dead_letters"] == [{"cause": "not_json", "total": 2, "lately": 2}]


def test_a_guard_that_is_down_and_a_stand_in_are_told() -> None:
    worker = Worker()
    worker.add("guard_breaker_state", 2, "llama_guard")
    worker.add("faults", 3, "llama_guard", "guard_error")
    worker.add("model_info", 1, "a model", "local-1", "true")
    worker.second()
    document = status(worker).document()
    (guard,) = document["guards"]
    assert (guard["name"], guard["breaker"], guard["faults"]) == ("llama_guard", "open", {"guard_error": 3})
    assert guard["fill"] == 0.3
    assert document["models"] == [{"id": "a model", "revision": "local-1", "stand_in": True}]


def test_policies_by_name_and_hash(policies: LivePolicies) -> None:
    listed = status(Worker(), policies=policies).document()["policies"]["listed"]
    assert [(each["name"], each["hash"]) for each in listed] == [
        (name, policy.hash) for name in ("default", "strict") if (policy := policies.named(name))
    ]


def test_the_shadow_and_the_reviewers_are_told_of_where_there_are_any() -> None:
    worker = Worker()
    assert (status(worker).document()["shadow"], status(worker).document()["reviews"]) == (None, None)
    worker.add("shadow_verdicts", 90, "safe", "safe")
    worker.add("shadow_verdicts", 10, "safe", "unsafe")
    worker.add("shadow_dropped", 3, "busy")
    worker.add("shadow_dropped", 0, "behind")
    worker.add("reviews", 20, "default", "unsafe", "unsafe")
    worker.add("reviews", 4, "default", "unsafe", "safe")
    worker.add("reviews", 1, "other", "safe", "unsafe")
    worker.add("reviews", 7, "default", "review", "unsafe")
    worker.add("reviews", 2, "none", "none", "safe")
    worker.add("reviews_unread", 1)
    worker.second()
    document = status(worker, shadow_policy="strict", shadow_share=0.2, reviews_topic="reviews").document()
    assert document["shadow"] == {
        "policy": "strict",
        "share": 0.2,
        "verdicts": 100,
        "differ": 10,
        "dropped": {"busy": 3},
        "errors": 0,
    }
    assert document["reviews"] == {"decisions": 34, "of_decided": 25, "overturned": 5, "unread": True}


def test_the_last_outcomes_of_each_kind_are_kept_without_what_people_wrote(policies: LivePolicies) -> None:
    recent = RecentOutcomes(most=3)
    event = ChatEvent.model_validate(
        {"event_id": "e", "conversation_id": "sparrow", "messages": [{"role": "user", "content": "sparrow"}]}
    )
    content: dict[str, Any] = {"event": event, "metadata": {"sparrow": "sparrow"}, "conversation_id": "sparrow"}
    works = []
    for number in range(10):
        record = RawRecord("t", 2, number, 0, b"sparrow", b"sparrow", [("h", b"sparrow")], True)
        outcomes = (
            verdict(label=Label.REVIEW, event_id=f"e-{number}", tenant="acme", **content),
            verdict(event_id="x" * 500, tenant="sparrow", source=Source("t", 1, number)),
            DeadLetter.of(record, Unjudgeable("not_json", "sparrow", Stage.READ)),
        )
        works += [work(outcome=outcome, arrived=100.0) for outcome in outcomes]
    for batch in (works[:5], works[5:]):
        recent.confirmed(batch, 100.5)
    rows = status(Worker(), recent, policies).document()["last"]
    assert "sparrow" not in json.dumps(rows)
    assert sorted(row["outcome"] for row in rows) == ["dead_letter"] * 3 + ["review"] * 3 + ["safe"] * 3
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert {row["event_id"] for row in rows if row["outcome"] == "review"} == {"e-7", "e-8", "e-9"}
    assert {row.get("tenant") for row in rows} == {"acme", "other", None}
    assert {row["place"] for row in rows if row["outcome"] == "dead_letter"} == {"2/7", "2/8", "2/9"}
    assert max(len(row.get("event_id", "")) for row in rows) == 80


def test_nothing_secret_is_told(policies: LivePolicies) -> None:
    worker = Worker()
    worker.second()
    told = json.dumps(status(worker, policies=policies).document())
    assert "sesame" not in told
    assert "SASL" not in told
    assert "readers" in told


def test_the_workers_own_metrics_can_be_read() -> None:
    before = read()
    metrics.VERDICTS.labels("safe").inc(3)
    metrics.DEAD_LETTERS.labels("not_json").inc(2)
    metrics.FAULTS.labels("a", "guard_error").inc()
    span = Span(before, read())
    assert (span.more("verdicts", "safe"), span.more_by("dead_letters")) == (3, {"not_json": 2})
    assert span.now.by("faults")["a"] == 1
    assert orjson.dumps(status(Worker()).document())


def test_the_page_is_one_file_that_nothing_else_can_run_in() -> None:
    policy = page_headers()["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    for outside in ("//", "src=", "url(", "@import", " style=", "onclick", "innerHTML", "insertAdjacentHTML", "eval("):
        text = page().replace("http://www.w3.org/2000/svg", "").replace("// -- ", "").replace("// ", "")
        assert outside not in text, outside


async def test_a_reading_that_fails_does_not_end_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.status.sampler._SECONDS", 0.001)
    tried, went_on = [], threading.Event()

    class Failing:
        def sample(self) -> None:
            tried.append(1)
            if len(tried) == 3:
                went_on.set()
            raise RuntimeError("no metric today")

    sampler = Sampler(cast("History", Failing()))
    await sampler.on_start()
    assert await asyncio.to_thread(went_on.wait, 30)
    await sampler.on_stop()
