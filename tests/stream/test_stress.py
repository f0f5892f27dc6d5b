"""`stress` and `bench stream` on the real Kafka: what they report is what happened."""

import os
import subprocess
import sys
from typing import Any

import orjson
import pytest

from tests.stream.rig import Rig
from worker.settings import ENV_PREFIX

pytestmark = pytest.mark.kafka


def command(rig: Rig, *arguments: str) -> tuple[int, dict[str, Any] | None, str]:
    """Exit code, the JSON object that was printed, and standard error."""
    values = {"bootstrap_servers": rig.bootstrap, "input_topic": rig.input_topic, **rig.outputs}
    environment = {**os.environ, **{ENV_PREFIX + key.upper(): value for key, value in values.items()}}
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments, "--json"], env=environment, capture_output=True, check=False
    )
    return done.returncode, orjson.loads(done.stdout) if done.stdout.strip() else None, done.stderr.decode()


async def test_all_events_are_answered_once(rig: Rig) -> None:
    with rig.worker() as worker:
        await rig.ready(worker)
        code, report, error = command(rig, "stress", "--rate", "200", "--seconds", "3", "--max-duplicated", "0")
    assert code == 0, error
    assert report is not None
    assert report["lost"] == report["duplicated"] == report["refused"] == 0
    assert 0 < report["sent"] == report["answered"] <= 600, "a busy machine sends fewer"
    assert report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"] <= report["max_ms"]


async def test_without_a_worker_everything_is_lost(rig: Rig) -> None:
    code, report, error = command(rig, "stress", "--rate", "50", "--seconds", "1", "--wait", "1")
    assert code == 1
    assert report is not None
    assert report["lost"] == report["sent"] > 0
    assert "is a worker running" in error


async def test_a_missing_topic_is_named(rig: Rig) -> None:
    rig.outputs["safe_topic"] = "no-such-topic"
    code, report, error = command(rig, "stress", "--seconds", "1")
    assert (code, report) == (78, None)
    assert "no-such-topic" in error
    assert "topics create" in error


@pytest.mark.chaos
async def test_bench_stream_measures_both_sides(rig: Rig) -> None:
    code, found, error = command(
        rig, "bench", "stream", "--events", "20000", "--rounds", "1", "--bootstrap", rig.bootstrap
    )
    assert code == 0, error
    assert found is not None
    assert found["plain_events_per_second"] > 0
    assert found["ratio"] == pytest.approx(found["worker_events_per_second"] / found["plain_events_per_second"])
    assert 0 < found["plain_latency_p50_ms"] < found["plain_latency_p99_ms"]
    assert 0 < found["latency_p50_ms"] < found["latency_p99_ms"]
    assert not any((await rig.lag()).values()), "the topics of the settings are none of its business"
