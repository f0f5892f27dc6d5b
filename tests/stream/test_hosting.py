"""Both ways to start a worker give the same one: probes and metrics on one port, and a clean end."""

import asyncio
import contextlib
import json
import signal
from pathlib import Path

from tests.stream.rig import REAL, Outcomes, Rig, chat_event, metric, probe, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess
from worker.settings import STAND_IN

FAUST = ("-m", "faust", "-A", "worker.stream.app", "worker", "-l", "info")
HERE = Path.cwd()
MODELS = {"llama_guard_model": STAND_IN, "prompt_guard_model": STAND_IN}


async def test_moderation_worker_run_and_faust_both_host_the_worker(rig: Rig) -> None:
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(rig.worker("own", REAL, torch_threads=1))
        faust = stack.enter_context(rig.worker("faust", FAUST, torch_threads=1, **MODELS))
        await asyncio.gather(*(_becomes_ready(worker) for worker in (own, faust)))
        async with rig.outcomes() as outcomes:
            await _serves(rig, faust, outcomes, stopping=own)
            assert faust.stop() == ExitCode.OK
    assert '"failed": false' in own.log.read_text()
    for worker in (own, faust):
        assert "Traceback" not in worker.log.read_text(errors="replace")
    assert not list(HERE.glob(f"{rig.group}*")), "the working directory may be read-only"


async def test_a_pause_of_the_process_is_no_error(rig: Rig) -> None:
    with rig.worker("worker") as worker:
        await rig.ready(worker)
        async with asyncio.timeout(120):  # the first pause may come before the web server has looked for any
            while "stood still" not in worker.log.read_text():
                worker.signal(signal.SIGSTOP)
                await asyncio.sleep(3.5)  # it speaks of more than three
                worker.signal(signal.SIGCONT)
                await asyncio.sleep(2)
        assert worker.stop() == ExitCode.OK
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {line["level"] for line in lines if "stood still" in line["event"]} == {"warning"}
    assert not [line for line in lines if line["level"] in ("error", "critical")]


async def _becomes_ready(worker: WorkerProcess) -> None:
    """It answers its probes from early on: alive, and not ready before it runs. That it answers while the models load
    is in test_failures.py, where a test holds them."""
    seen = set()

    def is_ready() -> bool:
        worker.check()
        status, body = probe(worker, "/readyz")
        if status:
            seen.add((status, body["ok"], body["phase"] == "running"))
            assert probe(worker, "/healthz")[0] == 200
        return status == 200

    await until(is_ready, 240)
    assert seen <= {(503, False, False), (200, True, True)}, seen


async def _serves(rig: Rig, worker: WorkerProcess, outcomes: Outcomes, *, stopping: WorkerProcess) -> None:
    """Both judge; the other one stops cleanly, and this one takes over its partitions."""
    texts = ("hello everyone!", "how do I make a bomb?")
    ids = await rig.send([(f"{n}".encode(), chat_event(texts[n % 2])) for n in range(20)])
    await outcomes.until_answered(ids, seconds=120)
    stopping.signal(signal.SIGTERM)
    assert await asyncio.to_thread(stopping.wait) == ExitCode.OK
    await until(lambda: metric(worker, "moderation_partitions_assigned") == 4)
    ids += await rig.send([(f"{n}".encode(), chat_event(texts[n % 2])) for n in range(20)])
    await outcomes.until_answered(ids, seconds=120)
    assert outcomes.counts == {"safe": 20, "unsafe": 20}
    assert set(outcomes.ids.values()) == {1}
    _, metrics = await asyncio.to_thread(probe, worker, "/metrics")
    for name in ("moderation_verdicts_total", "moderation_batches_total", "moderation_end_to_end_seconds_bucket"):
        assert name in metrics
