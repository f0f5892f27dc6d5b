"""No room on the disk under the journal: the worker judges on, says so once, and writes again when there is room."""

import asyncio
import resource

from tests.stream.rig import Rig, chat_event, metric, until
from worker.exit_codes import ExitCode

# The size of a file stands for that of the disk: the journal's file is larger, and the log's is not.
ROOM = 24 << 10
LIMITED = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, resource.RLIM_INFINITY)); "
LIMITED += "runpy.run_module('tests.stream.fake_worker', run_name='__main__', alter_sys=True)"
FAILS, WRITTEN = "the journal cannot be written", "the journal is written again"


async def test_a_full_disk_under_the_journal(rig: Rig) -> None:
    with rig.worker("full", ("-c", LIMITED)) as worker:
        await rig.ready(worker)
        async with rig.outcomes() as outcomes:
            ids = await rig.send((b"k", chat_event(f"hello {n}")) for n in range(300))
            await outcomes.until_answered(ids)
            assert await asyncio.to_thread(metric, worker, "moderation_journal_failing") == 1
            assert worker.log.read_text().count(FAILS) == 1
            assert WRITTEN not in worker.log.read_text()
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            ids += await rig.send((b"k", chat_event(f"hello again {n}")) for n in range(300))
            await outcomes.until_answered(ids)
            await until(lambda: metric(worker, "moderation_journal_failing") == 0)
            await rig.no_lag()
        assert worker.log.read_text().count(FAILS) == worker.log.read_text().count(WRITTEN) == 1
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
