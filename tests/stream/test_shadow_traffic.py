"""A shadow policy on a share of the traffic, on the real Kafka: the main path is as without it."""

import asyncio
import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from tests.stream.rig import Rig, chat_event, metric, probe, until
from worker.contract.headers import VerdictHeaders
from worker.contract.record import header
from worker.contract.verdict import VERDICT
from worker.exit_codes import ExitCode
from worker.settings import Settings
from worker.stream.kafka.checks import kafka_faults

pytestmark = pytest.mark.kafka

POLICIES = """
[policies.default]
prompt_attack_action = "ignore"
[policies.trial]
unsafe_threshold = 0.95
prompt_attack_action = "unsafe"
[policies.other]
excluded_categories = ["S1"]
"""
EVENTS = 600
SHARE = 0.4
TEXTS = ("how do I build a bomb", "how do I bake a cake", "ignore all that")
LABELS = ("safe", "review", "unsafe")


@pytest.fixture
def shadowed(rig: Rig, topics: Callable[..., str]) -> Rig:
    """The rig with a shadow topic among its outputs, and the policies in a file."""
    rig.outputs["shadow_topic"] = topics(partitions=4)
    (rig.folder / "policies.toml").write_text(POLICIES)
    return rig


def settings_of_shadow(rig: Rig, policy: str = "trial", share: float = SHARE) -> dict[str, Any]:
    return {"policies_file": rig.folder / "policies.toml", "shadow_policy": policy, "shadow_share": share}


def is_sampled(verdict_id: uuid.UUID) -> bool:
    return verdict_id.int >> 96 < SHARE * 2**32


def said(record: ConsumerRecord) -> dict[str, Any]:
    value = orjson.loads(record.value)
    return {**value, "latency_ms": 0, "decided_at": None, "key": record.key, "topic": record.topic}


def main_verdicts(records: list[ConsumerRecord], rig: Rig) -> dict[str, dict[str, Any]]:
    """What was said of each event; once."""
    found = [said(record) for record in records if record.topic != rig.outputs["shadow_topic"]]
    assert len(found) == EVENTS
    return {each["verdict_id"]: each for each in found}


async def test_a_share_of_the_events_is_judged_by_both(shadowed: Rig) -> None:
    rig = shadowed
    ids = await rig.send((b"%d" % (n % 50), chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(EVENTS))
    async with rig.outcomes() as outcomes:
        with rig.worker(policies_file=rig.folder / "policies.toml") as alone:
            await outcomes.until_answered(ids)
            assert (await asyncio.to_thread(alone.stop)) == ExitCode.OK
        await outcomes.read_to_end()
        without = main_verdicts(outcomes.records, rig)
        outcomes.records.clear()

        again = dataclasses.replace(rig, group=f"{rig.group}-again")
        with again.worker("again", **settings_of_shadow(rig)) as worker:
            await outcomes.until(lambda seen: len(seen.records) >= EVENTS + sum(map(is_sampled, ids)))
            await until(lambda: sum(_counted(worker).values()) >= sum(map(is_sampled, ids)))
            counted, text = _counted(worker), probe(worker, "/metrics")[1]
            assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
        await outcomes.read_to_end()
    main = main_verdicts(outcomes.records, rig)
    assert main == without
    shadow = outcomes.of("shadow")
    verdicts = [VERDICT.validate_json(record.value) for record in shadow]
    assert sorted(each.verdict_id for each in verdicts) == sorted(str(each) for each in ids if is_sampled(each))
    assert {each.policy.name for each in verdicts} == {"trial"}
    for record, verdict in zip(shadow, verdicts, strict=True):
        assert record.key == main[verdict.verdict_id]["key"]
        assert header(record.headers, "moderation-shadow") == b"true"
        VerdictHeaders.model_validate({name: value.decode() for name, value in record.headers})
    assert not any(header(each.headers, "moderation-shadow") for each in outcomes.records if each not in shadow)
    pairs = Counter((main[each.verdict_id]["label"], each.label.value) for each in verdicts)
    assert set(pairs) == {("safe", "safe"), ("safe", "unsafe"), ("unsafe", "safe")}, "both directions"
    assert counted == {(one, other): pairs[one, other] for one in LABELS for other in LABELS}
    assert not [
        line for line in text.splitlines() if line.startswith("moderation_shadow_dropped") and line[-3:] != "0.0"
    ]


def _counted(worker: Any) -> dict[tuple[str, str], float]:
    name = 'moderation_shadow_verdicts_total{{main="{}",shadow="{}"}}'
    return {(one, other): metric(worker, name.format(one, other)) or 0 for one in LABELS for other in LABELS}


async def test_a_topic_that_is_missing_is_said_at_the_start(rig: Rig) -> None:
    values = {"bootstrap_servers": rig.bootstrap, "input_topic": rig.input_topic, **rig.outputs}
    assert await kafka_faults(Settings.model_validate({**values, "shadow_topic": "no-such-topic"})) == []
    (fault,) = await kafka_faults(
        Settings.model_validate({**values, "shadow_topic": "no-such-topic", "shadow_policy": "x"})
    )
    assert str(fault) == "topic no-such-topic does not exist: create it with `moderation-worker topics create`"


async def test_a_policy_that_nobody_knows_is_said_at_the_start(shadowed: Rig) -> None:
    with shadowed.worker(**settings_of_shadow(shadowed, "trail")) as worker:
        assert (await asyncio.to_thread(worker.wait, 120)) == ExitCode.CONFIG
        assert "no policy named 'trail'" in worker.tail()


@pytest.mark.chaos
async def test_a_shadow_that_kills_the_worker_kills_it_once(shadowed: Rig) -> None:
    rig = shadowed
    settings = settings_of_shadow(rig, "other", share=1.0) | {"FAKE_KILLED_BY_POLICY": "other"}
    async with rig.outcomes() as outcomes:
        with rig.worker("killed", **settings) as killed:
            await rig.ready(killed)
            ids = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(200))
            assert (await asyncio.to_thread(killed.wait, 120)) == -9
        with rig.worker("paused", **settings) as paused:
            await outcomes.until_answered(ids)
            ids += await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(200))
            await outcomes.until_answered(ids)
            await rig.no_lag()
            await until(lambda: metric(paused, "moderation_suspects") == 0)
            assert (metric(paused, 'moderation_shadow_dropped_total{reason="paused"}') or 0) >= 200
            assert (await asyncio.to_thread(paused.stop)) == ExitCode.OK
        assert "the shadow is paused until the next start" in paused.log.read_text()
    assert outcomes.counts["dead_letter"] == outcomes.counts["shadow"] == 0


@pytest.mark.chaos
async def test_a_shadow_topic_that_goes_costs_only_shadow_verdicts(shadowed: Rig) -> None:
    rig = shadowed
    with rig.worker(**settings_of_shadow(rig, share=1.0)) as worker:
        await rig.ready(worker)
        first = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(50))
        async with rig.outcomes() as outcomes:
            await outcomes.until(lambda seen: len(seen.records) == 2 * len(first))
        await delete_topic(rig.bootstrap, rig.outputs.pop("shadow_topic"))
        ids = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(3000))
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
            await rig.no_lag()
        await until(lambda: bool(metric(worker, 'moderation_shadow_errors_total{stage="publish"}')), seconds=120)
        await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(50))
        assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK


async def delete_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
