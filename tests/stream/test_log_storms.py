"""The broker goes away for a while: the worker says so in a few lines and goes on when it is back."""

import asyncio
from pathlib import Path

import pytest

from tests.stream.rig import chat_event, metric, new_rig, until
from worker.exit_codes import ExitCode
from worker.local.jvm_broker import JvmBroker

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]


def test_a_broker_that_is_away_for_a_while_costs_few_lines_and_no_event(broker: JvmBroker, tmp_path: Path) -> None:
    rig = new_rig(broker, tmp_path)  # no event loop may run here

    async def judge() -> None:
        with rig.worker("worker", FAKE_DELAY=0.1, llama_guard_batch_tokens=256, max_in_flight_events=100) as worker:
            await rig.ready(worker)
            ids = await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(3000))
            await until(lambda: (metric(worker, 'moderation_verdicts_total{label="safe"}') or 0) > 0)
            await asyncio.to_thread(broker.kill)
            # Five of a kind are told at once: what comes from here on, and while the broker starts, is the storm.
            await until(lambda: worker.log.read_text().count("Unable connect to node") >= 5)
            worker.check()
            await asyncio.to_thread(broker.restart)
            ids += await rig.send((b"%d" % n, chat_event(f"hello again {n}")) for n in range(300))
            async with rig.outcomes() as outcomes:
                await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
            assert worker.stop() == ExitCode.OK
        assert set(outcomes.ids.values()) == {1}
        lines = worker.log.read_text().splitlines()
        assert any(" more like this: " in line for line in lines), "there was no storm"
        assert len(lines) < 100, lines

    asyncio.run(judge())
