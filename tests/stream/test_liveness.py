"""Liveness turns red before the group gives the partitions of a worker that hangs to others."""

import asyncio
import signal

import pytest

from tests.stream.rig import Rig, chat_event, metric, probe, until
from worker.exit_codes import ExitCode

SESSION_SECONDS = 60


@pytest.mark.chaos
async def test_a_blocked_event_loop_is_seen_while_the_group_still_counts_the_worker(rig: Rig) -> None:
    block = rig.folder / "blocked"
    with rig.worker("worker", FAKE_BLOCKED_WHILE=block, session_timeout_seconds=SESSION_SECONDS) as worker:
        await rig.ready(worker)
        block.touch()
        worker.signal(signal.SIGHUP)
        ids = await rig.send((None, chat_event(f"hello {n}")) for n in range(100))
        await until(lambda: probe(worker, "/healthz")[0] == 503, 120)
        assert await rig.members() == 1
        block.unlink()
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
        assert (await asyncio.to_thread(probe, worker, "/healthz"))[0] == 200
        assert await asyncio.to_thread(metric, worker, "moderation_rebalances_total") == 0
        assert worker.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
