"""A real Prometheus scrapes a running worker: all panels of the dashboard have data, all alerts can be evaluated."""

import asyncio
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.dashboard import dashboard
from tests.contract.test_review import review
from tests.deploy.prometheus_rig import Prometheus, prometheus
from tests.deploy.test_alerts import NAMES
from tests.stream.rig import LARGEST, chat_event, new_rig, until
from worker.local.broker import LocalKafka
from worker.local.traffic import POLICIES_TOML, sample_traffic
from worker.stream.kafka.topics import TopicSpec, create_topics

pytestmark = pytest.mark.chart

REVIEWED = {"label": "unsafe", "policy": {"name": "default"}, "violated_categories": ["S9"]}
FAULTS = ("BREAK", "OUT-OF-MEMORY ", "OUT-OF-MEMORY-TOGETHER")


@dataclass(frozen=True)
class Target:
    """One query of a panel, as Grafana sends it."""

    panel: str
    expression: str
    legend: str


def plain(query: str) -> str:
    """With Grafana's variables filled in: all workers, a rate over the whole test."""
    return query.replace("$__rate_interval", "10m").replace("$instance", ".*")


def targets() -> list[Target]:
    return [
        Target(panel["title"], plain(each["expr"]), each["legendFormat"])
        for panel in dashboard()["panels"]
        for each in panel.get("targets", [])
    ]


async def test_every_panel_has_data_and_every_alert_is_evaluated(kafka: LocalKafka, tmp_path: Path) -> None:
    rig = await asyncio.to_thread(new_rig, kafka, tmp_path)
    policies = tmp_path / "policies.toml"
    policies.write_text(POLICIES_TOML, encoding="utf-8")
    reviews = f"{rig.group}-decisions"
    shadow = {"shadow_policy": "default", "shadow_share": 1.0, "shadow_topic": f"{rig.group}-shadow"}
    more = [TopicSpec(reviews, 1, 1), TopicSpec(str(shadow["shadow_topic"]), 1, 1, {"max.message.bytes": str(LARGEST)})]
    await create_topics(more, bootstrap_servers=rig.bootstrap)
    settings: dict[str, Any] = {"FAKE_CARD": 1, "FAKE_DELAY": 0.01, "llama_guard_batch_tokens": 1024, **shadow}
    with (
        rig.worker(policies_file=policies, dead_letter_limit_share=0, reviews_topic=reviews, **settings) as worker,
        prometheus(worker.port, tmp_path) as scraper,
    ):
        await rig.ready(worker)
        # What grows from here on is an increase for Prometheus only if it has seen the counters before.
        await until(lambda: scraper.value("sum(moderation_partitions_assigned)") == 4)
        values = [(each.key, each.value) for each in sample_traffic()]
        values += [(b"%d" % n, chat_event(f"{fault} {n}")) for n in range(3) for fault in FAULTS]
        ids = await rig.send(values)
        await until(lambda: scraper.value('sum(moderation_reviewed_categories_total{category="S9"})') == 0)
        async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as console:
            await console.send_and_wait(reviews, review(verdict=REVIEWED))
        await until(lambda: scraper.value("sum(moderation_reviews_total)") == 1)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
        await until(lambda: scraper.value("sum(moderation_records_total)") == len(ids))
        await until(lambda: scraper.value("sum(moderation_consumer_lag)") == 0)
        await until(lambda: all(health != "unknown" for health, _ in scraper.alerts().values()))
        await asyncio.to_thread(_check, scraper)
        worker.check()


def _check(scraper: Prometheus) -> None:
    without_data = [each for each in targets() if not _has_data(scraper, each)]
    assert not without_data, without_data
    assert scraper.value(plain("sum(increase(moderation_out_of_memory_splits_total[$__rate_interval]))"))
    assert sorted(scraper.alerts()) == sorted(NAMES)
    assert {name: error for name, (health, error) in scraper.alerts().items() if health != "ok"} == {}
    assert scraper.label_values("instance", "moderation_partitions_assigned"), "nothing to choose among the workers"
    (annotation,) = dashboard()["annotations"]["list"]
    scraper.query(annotation["expr"])


def _has_data(scraper: Prometheus, target: Target) -> bool:
    """A number at least, with every label that the legend names."""
    answers = scraper.query(target.expression)
    legend = set(re.findall(r"{{(\w+)}}", target.legend))
    return any(math.isfinite(each.value) for each in answers) and all(legend <= set(each.labels) for each in answers)
