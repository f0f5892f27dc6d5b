"""Hostile records among good ones: each has its outcome, none harms its neighbours, and the worker never restarts."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.stream.foreign import produce
from tests.stream.hostile import CANARY, COUNT, Hostile, hostile_records
from tests.stream.rig import LARGEST, REAL, Outcomes, Rig, probe
from worker.contract.record import header
from worker.guards.loading import load_guards
from worker.local.traffic import Sample, sample_traffic
from worker.moderation.lines import LineJudge
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.policy.store import PolicyStore
from worker.settings import STAND_IN, Settings

SETTINGS = {
    "llama_guard_model": STAND_IN,
    "prompt_guard_model": STAND_IN,
    "torch_threads": 1,
    "max_record_bytes": LARGEST - 4096,  # the topics take a little more
    "max_windows": 4,  # so that the largest texts do not take most of the time
    "max_images": 2,
}
CAUSES = ("moderation-error-type", "moderation-error-message", "moderation-error-stage")


async def test_hostile_records_have_an_outcome_each_and_harm_nobody(rig: Rig) -> None:
    good = _good_samples()
    hostile = hostile_records([sample.value or b"" for sample in good])
    pairs = list(zip(good, hostile, strict=True))
    records = [(each.key, each.value, ()) for pair in pairs for each in pair]
    with rig.worker(command=REAL, **SETTINGS) as worker:
        sent = await asyncio.to_thread(produce, rig.bootstrap, rig.input_topic, records)
        alone = await _judged_alone(good)
        await rig.ready(worker)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered((each.id for each in sent), seconds=400)
        assert len(outcomes.ids) == len(records) and set(outcomes.ids.values()) == {1}
        worker.check()  # the process that was started has never ended
        assert (await asyncio.to_thread(probe, worker, "/healthz"))[0] == 200

    ids = [each.id for each in sent]
    _check_good(outcomes, dict(zip(ids[::2], alone, strict=True)))
    _check_hostile(outcomes, dict(zip(ids[1::2], hostile, strict=True)))
    assert CANARY not in worker.log.read_text(errors="replace"), "no content in the log"


def _good_samples() -> list[Sample]:
    """Short events, some of them with a picture."""
    whole = [each for seed in range(2) for each in sample_traffic(seed) if each.kind != "malformed"]
    pictures = [each for each in whole if each.kind == "image"][:20]
    short = [each for each in whole if "image" not in each.kind and len(each.value or b"") < 600]
    return [*pictures, *short][:COUNT]


async def _judged_alone(good: Sequence[Sample]) -> list[dict[str, Any]]:
    """The verdicts on the good events without anything hostile near."""
    settings = Settings.model_validate(SETTINGS)
    moderator = Moderator(await asyncio.to_thread(load_guards, settings), ModeratorOptions.of(settings))
    try:
        judge = LineJudge(moderator, PolicyStore.of(settings), source="alone")
        return [json.loads(line) async for line in judge.judge([each.value or b"" for each in good])]
    finally:
        moderator.close()


def _check_good(outcomes: Outcomes, alone: dict[Any, dict[str, Any]]) -> None:
    verdicts = [record for kind in ("safe", "unsafe", "review") for record in outcomes.of(kind)]
    found = {outcomes.id_of(record): json.loads(record.value) for record in verdicts}
    labels = set()
    for record_id, expected in alone.items():
        verdict = found[record_id]
        assert verdict["event_id"] == expected["event_id"]
        assert verdict["label"] == expected["label"], verdict
        assert verdict["violated_categories"] == expected["violated_categories"], verdict
        assert _flat(verdict["scores"]) == pytest.approx(_flat(expected["scores"]), abs=1e-3)
        assert verdict["coverage"] == expected["coverage"]
        labels.add(verdict["label"])
    assert labels >= {"safe", "unsafe"}


def _flat(scores: dict[str, Any]) -> dict[str, float]:
    flat = {"unsafe": scores["unsafe"], "prompt_attack": scores["prompt_attack"], **scores["categories"]}
    return {name: -1.0 if score is None else score for name, score in flat.items()}


def _check_hostile(outcomes: Outcomes, hostile: dict[Any, Hostile]) -> None:
    dead = {outcomes.id_of(record): record for record in outcomes.of("dead_letter")}
    assert dead.keys() <= hostile.keys(), "no good event is dead"
    for record_id, sent in hostile.items():
        assert sent.is_dead is None or sent.is_dead == (record_id in dead), sent.kind
        if record_id not in dead:
            continue
        record = dead[record_id]
        assert record.key == sent.key
        assert record.value == (b"" if sent.key is None and sent.value is None else sent.value)
        causes = [(header(record.headers, name) or b"").decode() for name in CAUSES]
        assert all(causes), f"{sent.kind} lacks a cause"
        assert CANARY not in "".join(causes) and len(causes[1]) <= 1000
    causes_seen = {header(record.headers, "moderation-error-type") for record in dead.values()}
    assert b"prepare_failed" not in causes_seen, "every kind of fault has a name of its own"
    assert len(causes_seen) >= 10
