"""The review queue on a real Kafka: verdicts with their events, a console's answers, metrics, labelled data."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.stream.rig import Rig, chat_event, metric, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess

pytestmark = pytest.mark.kafka

POLICIES = "[policies.default]\nunsafe_threshold = 0.95\nreview_band = [0.5, 0.95]\n"  # the fake guard says 0.9
NO_REVIEWS = (b"SECRET", b"", b'{"label": "SECRET"}', None)


def answer(verdict: dict[str, Any]) -> dict[str, Any]:
    """What the person at the console says: bombs in films are safe, others are S9 and S1."""
    (message,) = verdict["event"]["messages"]
    said = {"label": "safe"} if "film" in message["content"] else {"label": "unsafe", "categories": ["S9", "S1"]}
    echoed = {name: verdict[name] for name in ("label", "policy", "violated_categories")}
    return {
        "verdict_id": verdict["verdict_id"],
        **said,
        "reviewer": "SECRET",
        "note": "SECRET",
        "decided_at": "2026-05-01T12:00:00Z",
        "verdict": echoed,
    }


async def send(rig: Rig, topic: str, *values: bytes | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(topic, value, key=b"%d" % number)


def policies_file(rig: Rig) -> Path:
    path = rig.folder / "policies.toml"
    path.write_text(POLICIES)
    return path


def counted(worker: WorkerProcess, person: str) -> float | None:
    return metric(worker, f'moderation_reviews_total{{person="{person}",policy="default",verdict="review"}}')


def category(worker: WorkerProcess, key: str, result: str) -> float | None:
    labels = f'category="{key}",result="{result}",verdict="review"'
    return metric(worker, f"moderation_reviewed_categories_total{{{labels}}}")


def command(rig: Rig, topic: str, *words: str) -> str:
    """What `moderation-worker ...` says."""
    settings = {"bootstrap_servers": rig.bootstrap, "input_topic": rig.input_topic, "reviews_topic": topic}
    environment = {f"MODERATION_{name.upper()}": value for name, value in {**settings, **rig.outputs}.items()}
    done = subprocess.run(
        [sys.executable, "-m", "worker", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    return done.stdout + done.stderr


def labelled_data(rig: Rig, topic: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of `evaluate --from-reviews`, and what it says."""
    folder = rig.folder / "evaluation"
    words = command(rig, topic, "evaluate", "--from-reviews", "--only-write-reviews", "--output", str(folder))
    return [json.loads(line) for line in (folder / "reviews.jsonl").read_text().splitlines()], words


async def test_what_reviewers_decide_comes_back(rig: Rig) -> None:
    """The topic is not there at first: the judging does not wait for it."""
    topic = f"{rig.group}-decisions"
    policies = policies_file(rig)
    said = ["a bomb", "a bomb in a film", "how to build a bomb", "a cake"]
    async with rig.outcomes() as outcomes:
        with rig.worker(policies_file=policies, reviews_topic=topic, event_in_review_verdicts="true") as worker:
            await rig.ready(worker)
            await outcomes.until_answered(await rig.send((None, chat_event(each)) for each in said))
            await until(lambda: f"topic {topic} does not exist" in worker.log.read_text())
            assert metric(worker, "moderation_reviews_unread") == 1

            made = await asyncio.to_thread(command, rig, topic, "topics", "create", "--partitions", "2")
            assert f"topic {topic} created: partitions 2" in made
            verdicts = [orjson.loads(record.value) for record in outcomes.of("review")]
            assert len(verdicts) == 3
            await send(rig, topic, *NO_REVIEWS, *(orjson.dumps(answer(verdict)) for verdict in verdicts))
            await until(lambda: (counted(worker, "safe"), counted(worker, "unsafe")) == (1, 2))
            assert category(worker, "S9", "confirmed") == 2
            assert category(worker, "S9", "refuted") == 1
            assert category(worker, "S1", "missed") == 2
            await until(lambda: metric(worker, "moderation_reviews_unreadable_total") == len(NO_REVIEWS))
            assert metric(worker, "moderation_reviews_unread") == 0
            assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
            assert "SECRET" not in worker.log.read_text()
        with rig.worker("next", policies_file=policies, reviews_topic=topic) as following:
            await rig.ready(following)
            (bomb,) = (each for each in verdicts if each["event"]["messages"][0]["content"] == "a bomb")
            await send(rig, topic, orjson.dumps({**answer(bomb), "label": "safe", "decided_at": "2027-01-01"}))
            await until(lambda: counted(following, "safe") == 1)
            assert counted(following, "unsafe") == 0, "counted again, although the first worker has committed them"
    rows, words = await asyncio.to_thread(labelled_data, rig, topic)
    found = {row["event"]["messages"][0]["content"]: row for row in rows}
    assert found.keys() == set(said[:3])
    assert {row["label_source"] for row in rows} == {"review"}
    assert [found[each]["label"] for each in said[:3]] == ["safe", "safe", "unsafe"], "the latest review decides"
    assert found["how to build a bomb"]["categories"] == ["S9", "S1"]
    assert "3 reviewed verdicts of 3" in words and "4 records that are no reviews" in words
