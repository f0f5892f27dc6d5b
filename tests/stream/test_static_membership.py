"""Static members of the group: a short absence disturbs nobody, and two of one name are found out."""

import asyncio

import orjson
import pytest

from tests.stream.rig import Rig, chat_event, metric, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess


def _assignments(worker: WorkerProcess) -> list[list[int]]:
    lines = map(orjson.loads, worker.log.read_bytes().splitlines())
    return [line["partitions"] for line in lines if line["event"] == "partitions assigned"]


async def _spread(*workers: WorkerProcess) -> None:
    """Each of them has its share."""
    for worker in workers:
        await until(lambda worker=worker: metric(worker, "moderation_partitions_assigned") == 4 / len(workers))


@pytest.mark.chaos
async def test_a_restart_within_the_session_disturbs_nobody(rig: Rig) -> None:
    settings = {"session_timeout_seconds": 60}
    with rig.worker("stays", group_instance_id="a", **settings) as stays:
        await rig.ready(stays)
        with rig.worker("goes", group_instance_id="b", **settings) as goes:
            await _spread(stays, goes)
            before, share = len(_assignments(stays)), _assignments(goes)[-1]
            ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(100)])
            async with rig.outcomes() as outcomes:
                await outcomes.until_answered(ids)
                assert await asyncio.to_thread(goes.stop) == ExitCode.OK
                ids += await rig.send([(f"{n}".encode(), chat_event(f"hello again {n}")) for n in range(100)])
                with rig.worker("comes back", group_instance_id="b", **settings) as back:
                    await outcomes.until_answered(ids)
                    assert _assignments(back) == [share]
                    await rig.no_lag()
                    await outcomes.read_to_end()
        assert len(_assignments(stays)) == before, "the other one had no rebalance"
        assert set(outcomes.ids.values()) == {1}


async def test_of_two_workers_of_one_name_the_first_ends_with_a_line_that_says_so(rig: Rig) -> None:
    with rig.worker("first", group_instance_id="twin") as first:
        await rig.ready(first)
        with rig.worker("second", group_instance_id="twin") as second:
            assert await asyncio.to_thread(first.wait, 120) == ExitCode.CONFIG
            await rig.ready(second)
            ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(100)])
            async with rig.outcomes() as outcomes:
                await outcomes.until_answered(ids)
                await rig.no_lag()
            assert await asyncio.to_thread(second.stop) == ExitCode.OK
    told = [
        line
        for line in map(orjson.loads, first.log.read_bytes().splitlines())
        if line["logger"] == "worker.stream.host"
    ]
    assert [line["event"] for line in told] == [
        f"cannot go on: another worker of group {rig.group} has joined as twin: "
        "give each worker a MODERATION_GROUP_INSTANCE_ID of its own"
    ]


@pytest.mark.parametrize("instance", ["", "x" * 201])
def test_a_name_is_neither_empty_nor_endless(instance: str) -> None:
    from pydantic import ValidationError

    from worker.settings import Settings

    with pytest.raises(ValidationError, match="group_instance_id"):
        Settings.model_validate({"group_instance_id": instance})
