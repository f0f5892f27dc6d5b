"""How a worker ends when it cannot go on: the exit code says why, and nothing is lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stream.rig import Gate, Rig, chat_event, probe, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess

HUB_MODEL = {"model": "acme/guard", "revision": "0" * 40}


def _ready(worker: WorkerProcess, seen: list[tuple[int, str]]) -> tuple[int, str]:
    status, body = probe(worker, "/readyz")
    seen.append((status, body["phase"] if status else ""))
    return seen[-1]


# -- ends -------------------------------------------------------------------------------------------------------------


async def test_a_lost_device_ends_the_worker_and_its_events_come_again(rig: Rig) -> None:
    # What cannot be read is finished at once: behind the others, it must not be committed before them.
    values = [*(chat_event(f"hello {n}") for n in range(30)), chat_event("LOSE-THE-DEVICE"), *(b"not JSON",) * 60]
    slow = {"FAKE_DELAY": "0.5", "commit_interval_seconds": 0.02}
    async with rig.outcomes() as outcomes:
        with rig.worker("first", **slow) as first:
            await rig.ready(first)
            ids = await rig.send([(None, value) for value in values])
            assert await asyncio.to_thread(first.wait, 120) == ExitCode.CRASH
        committed = await rig.committed()
        await outcomes.until(lambda seen: seen.counts["dead_letter"] > 0)
        await outcomes.read_to_end()
        unanswered = set(ids) - outcomes.ids.keys()
        assert unanswered
        for each in unanswered:
            partition, offset = rig.places[each]
            assert offset >= committed[partition], "an unanswered event was committed"
        with rig.worker("second", FAKE_HARMLESS="LOSE-THE-DEVICE"):
            await outcomes.until_answered(ids, seconds=120)
        assert outcomes.ids.keys() == set(ids)


async def test_a_guard_that_hangs_ends_at_the_drain_deadline_and_its_event_is_not_committed(rig: Rig) -> None:
    with rig.worker("hangs", drain_seconds=20) as worker:
        await rig.ready(worker)
        await rig.send([(b"k", chat_event("HANG"))])
        await until(lambda: "the fake guard hangs" in worker.log.read_text())
        worker.signal(signal.SIGTERM)
        seen: list[tuple[int, str]] = []
        await until(lambda: _ready(worker, seen) != (200, "running"))
        assert seen[-1] == (503, "draining"), "readiness falls long before the process ends"
        assert await asyncio.to_thread(worker.wait) == ExitCode.DRAIN_DEADLINE
        told = json.loads(worker.log.read_text().splitlines()[-1])
        assert told["event"].startswith("ended by force after 20 s, exit code 75")
        assert told.keys() >= {"logger", "level", "timestamp"}
    assert set((await rig.committed()).values()) == {0}


@pytest.mark.chaos  # the hub's client tries for half a minute
async def test_models_that_cannot_be_had_end_the_start_with_one_line(rig: Rig) -> None:
    names = {f"{guard}_{what}": each for guard in ("llama_guard", "prompt_guard") for what, each in HUB_MODEL.items()}
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": rig.folder, "NO_PROXY": "127.0.0.1"}
    with rig.worker("no hub", ("-m", "worker", "run"), device="cpu", **names, **nowhere) as worker:
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CONFIG
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    (told,) = [line for line in lines if line["level"] in {"error", "critical"}]
    assert "the hub cannot be reached for acme/guard" in str(told) and "MODERATION_OFFLINE=true" in str(told)


async def test_a_stop_while_the_models_load_does_not_wait_for_them(rig: Rig) -> None:
    with rig.worker("loads", FAKE_LOAD_SECONDS="600") as worker:
        await until(lambda: "the fake models load" in worker.log.read_text())
        status, body = await asyncio.to_thread(probe, worker, "/readyz")
        assert (status, body["phase"]) == (503, "loading")
        worker.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.OK


@pytest.mark.parametrize("returns", [True, False])
async def test_a_stop_while_it_connects_joins_no_group_and_is_no_crash(rig: Rig, returns: bool) -> None:
    gate = Gate(rig.folder / "connecting")
    with rig.worker(FAKE_CONNECTION_WAITS_WHILE=gate) as worker:
        await until(lambda: "the fake consumer has connected" in worker.log.read_text())
        worker.signal(signal.SIGTERM)
        await until(lambda: "stopped before it has started" in worker.log.read_text())
        if returns:
            gate.open()
        assert await asyncio.to_thread(worker.wait) == ExitCode.OK
        log = worker.log.read_text()
        assert not any(word in log for word in ("crashed", "partitions assigned", "Unclosed"))
    assert await rig.members() == 0, "nobody waits for its session to run out"


async def test_missing_topics_end_the_start_with_a_line_that_names_them_and_the_remedy(rig: Rig) -> None:
    with rig.worker("lost", input_topic="no-such-input", safe_topic="no-such-output") as worker:
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CONFIG
    lines = [line for line in worker.log.read_text().splitlines() if json.loads(line)["level"] == "error"]
    assert len(lines) == 1, lines
    for topic in ("no-such-input", "no-such-output"):
        assert f"topic {topic} does not exist: create it with `moderation-worker topics create`" in lines[0]
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MODERATION_MAX_IN_FLIGHT_EVENTS", "0", "setting max_in_flight_events (MODERATION_MAX_IN_FLIGHT_EVENTS)"),
        ("MODERATION_POLICIES_FILE", "/no/such/file.toml", "/no/such/file.toml: cannot read the policies file"),
    ],
)
def test_settings_that_cannot_be_used_end_the_start_with_a_line_that_names_them(
    variable: str, value: str, told: str, tmp_path: Path
) -> None:
    environment = _without_settings() | {variable: value, "MODERATION_WEB_PORT": "0", "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "run"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == ExitCode.CONFIG
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def _without_settings() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}
