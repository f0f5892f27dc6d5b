"""What came out, by label, category and tenant; senders choose the tenant's name and must not choose the labels."""

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import worker
from tests.stream.works import work
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import CAUSES
from worker.contract.verdict import Coverage, Label, PolicyRef, Scores, Source, Verdict
from worker.observability import metrics
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.stream.outcome_counts import OutcomeCounts


def verdict(**fields: Any) -> Verdict:
    plain: dict[str, Any] = {
        "verdict_id": str(uuid.uuid4()),
        "event_id": "e",
        "conversation_id": "c",
        "label": Label.SAFE,
        "reasons": (),
        "judged_role": "user",
        "scores": Scores(),
        "policy": PolicyRef(name="default", hash="0"),
        "models": (),
        "coverage": Coverage(),
        "source": Source(topic="t", partition=0, offset=0),
        "decided_at": datetime.now(UTC),
        "latency_ms": 1.0,
    }
    return Verdict(**{**plain, **fields})


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def series() -> set[tuple[str, ...]]:
    """Label values of the tenants' metric."""
    (family,) = metrics.TENANT_VERDICTS.collect()
    return {tuple(sample.labels.values()) for sample in family.samples}


def test_ten_thousand_tenants_of_an_attacker_are_one() -> None:
    counts = OutcomeCounts(["acme"])
    before, others = series(), value("moderation_tenant_verdicts_total", tenant="other", label="unsafe")
    one = verdict(label=Label.UNSAFE)
    for number in range(10_000):
        counts.confirmed([work(outcome=replace(one, tenant=f"tenant-{number}"))])
    assert series() == before
    assert value("moderation_tenant_verdicts_total", tenant="other", label="unsafe") == others + 10_000


@pytest.mark.parametrize(("tenant", "shown"), [("globex", "globex"), (None, "none"), ("initech", "other")])
def test_verdicts_are_counted_by_label_and_tenant(tenant: str | None, shown: str) -> None:
    counts = OutcomeCounts(["globex"])
    labels = [value("moderation_verdicts_total", label=label.value) for label in Label]
    mine = value("moderation_tenant_verdicts_total", tenant=shown, label="review")
    counts.confirmed([work(outcome=verdict(tenant=tenant, label=Label.REVIEW))])
    now = [value("moderation_verdicts_total", label=label.value) for label in Label]
    assert [after - before for after, before in zip(now, labels, strict=True)] == [0, 1, 0]
    assert value("moderation_tenant_verdicts_total", tenant=shown, label="review") == mine + 1


def test_categories_attacks_and_dead_letters_are_counted() -> None:
    counts = OutcomeCounts([])
    names: list[tuple[str, dict[str, str]]]
    names = [("moderation_violations_total", {"category": "S9"}), ("moderation_violations_total", {"category": "S1"})]
    names += [("moderation_prompt_attacks_total", {}), ("moderation_dead_letters_total", {"cause": "invalid_json"})]
    before = [value(name, **labels) for name, labels in names]
    attack = verdict(label=Label.UNSAFE, violated_categories=("S9", "S1"), prompt_attack=True)
    counts.confirmed([work(outcome=attack), work(outcome=DeadLetter(None, b"", [], "invalid_json"))])
    assert [value(name, **labels) for name, labels in names] == [each + 1 for each in before]


def test_what_never_came_is_there_at_0() -> None:
    """Else an alert on the increase would not see the first one."""
    OutcomeCounts([])
    told = {sample.labels["category"] for family in metrics.VIOLATIONS.collect() for sample in family.samples}
    assert told >= set(CATEGORY_KEYS)
    told = {sample.labels["cause"] for family in metrics.DEAD_LETTERS.collect() for sample in family.samples}
    assert told >= set(CAUSES)


def test_every_cause_of_the_code_is_known() -> None:
    package = Path(worker.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py")))
    given = set(re.findall(r'(?:Unjudgeable|_refuse)\(\s*"(\w+)"', code))
    assert len(given) > 10
    assert given | {"not_json"} == set(CAUSES)  # that one is chosen beside its call


def test_the_times_of_an_event_are_told_apart() -> None:
    counts = OutcomeCounts([], clock=lambda: 107.0)
    names = ("moderation_stage_seconds_sum", {"stage": "publish"}), ("moderation_end_to_end_seconds_sum", {})
    before = [value(name, **labels) for name, labels in names]
    counts.confirmed([work(outcome=verdict(), arrived=100.0, decided=105.0)])
    assert [value(name, **labels) - b for (name, labels), b in zip(names, before, strict=True)] == [2.0, 7.0]
