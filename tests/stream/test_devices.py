"""Two workers on one host, on a real Kafka: one is killed under load, both are stopped in order."""

import asyncio
import os
import signal
from typing import Any

import orjson
import pytest

from tests.stream.rig import Gate, Rig, chat_event, metric, probe, stop_in_the_middle, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess

CREW = ("-m", "tests.stream.fake_devices", "cpu,cpu")
SETTINGS: dict[str, Any] = {"FAKE_DELAY": 0.02, "llama_guard_batch_tokens": 256}
HELD = {"FAKE_WAIT_FROM": 1000, "max_in_flight_events": 200}  # each of two, while a gate is closed: half of 4,000


def lines(crew: WorkerProcess, event: str) -> list[dict[str, Any]]:
    """The log lines that say so."""
    read = [orjson.loads(line) for line in crew.log.read_text().splitlines() if line.endswith("}")]
    return [line for line in read if line["event"] == event]


def _workers(crew: WorkerProcess, path: str) -> list[dict[str, Any]]:
    """What its page says of each worker."""
    workers: list[dict[str, Any]] = probe(crew, path)[1]["workers"]
    return workers


def _is_alive_while_the_first_is_started(crew: WorkerProcess) -> bool:
    """Whether the first one is being started; all must be called alive then, or the other one is ended for it."""
    status, report = probe(crew, "/healthz")
    if report["workers"][0]["phase"] != "starting":
        return False
    assert status == 200, report
    return True


def _tells_of_both(page: str) -> bool:
    """Whether the metrics' page has a worker's series beside the other's, under one heading."""
    once = page.count("# TYPE moderation_records_total counter") == 1
    return once and all(f'moderation_verdicts_total{{label="safe",worker="{worker}"}}' in page for worker in "01")


@pytest.mark.chaos
async def test_one_that_is_killed_under_load_is_started_again_and_nothing_is_lost(rig: Rig) -> None:
    async with rig.outcomes() as outcomes:
        with rig.worker("crew", CREW, session_timeout_seconds=6, **SETTINGS) as crew:
            await rig.ready(crew)
            both = {line["worker"]: line["pid"] for line in lines(crew, "worker started")}
            assert both.keys() == {0, 1}
            await until(lambda: [each["phase"] for each in _workers(crew, "/readyz")] == ["running", "running"])

            ids = await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(4000))
            await outcomes.until(lambda seen: len(seen.records) > 200)
            os.kill(both[0], signal.SIGKILL)
            await until(lambda: _is_alive_while_the_first_is_started(crew))
            await outcomes.until_answered(ids, seconds=200)
            assert outcomes.ids.keys() == set(ids), "0 lost"

            await rig.ready(crew)
            assert [each["restarts"] for each in await asyncio.to_thread(_workers, crew, "/readyz")] == [1, 0]
            restarts = await asyncio.to_thread(metric, crew, 'moderation_worker_restarts_total{worker="0"}')
            assert restarts == 1
            await until(lambda: _tells_of_both(probe(crew, "/metrics")[1]))
            await rig.no_lag()
            assert (await asyncio.to_thread(crew.stop)) == ExitCode.OK
    (ended,) = lines(crew, "worker ended")
    assert (ended["worker"], ended["code"]) == (0, -signal.SIGKILL)


async def test_a_stop_under_load_drains_both(rig: Rig, gate: Gate) -> None:
    async with rig.outcomes() as outcomes:
        with rig.worker("crew", CREW, FAKE_WAIT_WHILE=gate, **SETTINGS, **HELD) as crew:
            await rig.ready(crew)
            ids = await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(4000))
            await outcomes.until(lambda seen: len(seen.records) > 200)
            assert await stop_in_the_middle(crew, gate) == ExitCode.OK
        assert {line["worker"] for line in lines(crew, "stopped")} == {0, 1}
        await outcomes.read_to_end()
        assert 200 < len(outcomes.ids) < 4000, "the stop came under load"
        with rig.worker("next", llama_guard_batch_tokens=4096):
            await outcomes.until_answered(ids, seconds=200)
    assert set(outcomes.ids.values()) == {1}, "nothing lost, nothing twice"


async def test_settings_that_cannot_be_used_end_all_of_them(rig: Rig) -> None:
    with rig.worker("crew", CREW, safe_topic="nowhere-to-be-found") as crew:
        assert await asyncio.to_thread(crew.wait, 120) == ExitCode.CONFIG
    assert len(lines(crew, "worker started")) == 2 and not lines(crew, "worker ended")


async def test_workers_stop_when_whoever_started_them_is_killed(rig: Rig) -> None:
    with rig.worker("crew", CREW) as crew:
        await rig.ready(crew)
        pids = [line["pid"] for line in lines(crew, "worker started")]
        crew.signal(signal.SIGKILL)
        await until(lambda: not any(map(_runs, pids)))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
