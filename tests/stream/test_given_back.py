"""Records that go away while they are on their way, and those that come again after a kill."""

import asyncio
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stream.pipeline_rig import A, Rig, named_in, record
from worker.contract.dead_letter import DeadLetter
from worker.observability import metrics


def stale() -> float:
    return float(metrics.STALE._value.get())


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# -- what goes away


async def test_what_was_taken_away_while_it_was_judged_is_its_new_owners(rig: Rig) -> None:
    rig.take(record(1), record(1, partition=1))
    rig.start(1)
    rig.pipeline.progress.revoke([A])
    rig.answer(1)
    assert [work.record.partition for work in rig.broker.sent] == [1]
    assert len(rig.pipeline.works) == 1


async def test_of_a_key_with_thousands_of_stale_works_none_is_one_too_many(rig: Rig) -> None:
    """They let each other go one after the other: no call may be within another's."""
    rig.take(*(record(offset, key=b"k") for offset in range(5000)))
    rig.start(*range(5000))
    rig.answer(*range(1, 5000))
    rig.pipeline.progress.revoke([A])
    rig.answer(0)
    assert (rig.broker.sent, rig.failures, len(rig.pipeline.works)) == ([], [], 0)


async def test_a_drain_gives_back_what_has_not_started_and_waits_for_the_rest(rig: Rig) -> None:
    rig.take(*(record(offset) for offset in range(4)), record(9, partition=1))
    rig.start(1)
    draining = asyncio.create_task(rig.pipeline.drain([A]))
    await asyncio.sleep(0)
    assert sorted(rig.judges.given_up) == [2, 3]
    rig.judge(0, 1)
    await asyncio.sleep(0)
    assert not draining.done()
    rig.confirm()
    async with asyncio.timeout(60):
        await draining
    assert rig.ends == {0: 2}
    assert len(rig.pipeline.works) == 1, "the other partition's"


async def test_what_is_not_finished_when_its_partition_goes_is_given_back_but_what_is_with_the_broker(rig: Rig) -> None:
    rig.take(*(record(offset, key=b"k") for offset in range(3)))
    rig.start(0, 1, 2)
    rig.answer(0, 2)
    rig.pipeline.revoke([A])
    assert sorted(rig.judges.given_up) == [1, 2]
    assert rig.broker.offsets == [0]
    rig.confirm()
    assert (rig.ends, rig.failures, len(rig.pipeline.works)) == ({}, [], 0)


async def test_who_is_given_back_lets_the_key_of_another_partition_go(rig: Rig) -> None:
    rig.take(record(1, key=b"k"))
    rig.take(record(1, partition=1, key=b"k"))
    rig.start(1)
    rig.answer(1)
    rig.broker.sent.clear()
    rig.take(record(2, key=b"k"))
    rig.take(record(7, partition=1, key=b"k"))
    rig.judge(7)
    assert rig.broker.sent == []
    before = stale()
    rig.pipeline.revoke([A])
    assert (rig.broker.offsets, stale() - before) == ([7], 0)


async def test_a_failure_while_partitions_go_ends_the_worker(rig: Rig) -> None:
    """aiokafka would only log what its listener raises, and an event of another partition would be lost."""
    rig.take(record(1, key=b"k"), record(1, partition=1, key=b"k"))
    rig.judge(1)  # both; the second one waits for the first
    rig.confirm()
    rig.take(record(2, key=b"k"))
    rig.take(record(3, partition=1, key=b"k"))
    rig.judge(3)
    rig.broker.raises = ValueError("nothing is left to leave out")
    rig.pipeline.revoke([A])
    assert rig.failures == [rig.broker.raises]


async def test_what_is_given_back_stays_named_while_the_device_is_at_it(rig: Rig, tmp_path: Path) -> None:
    """It may still kill the process, or hang: then those that came later are not at fault."""
    rig.take(record(1), record(2))
    rig.start(1)
    rig.judges.held = {1}
    rig.pipeline.revoke([A])
    rig.take(record(7, partition=1))
    assert named_in(tmp_path) == {1, 7}
    rig.pipeline.let_go(rig.asked(1))
    rig.take(record(8, partition=1))
    assert named_in(tmp_path) == {7, 8}


async def test_records_that_cannot_be_taken_end_the_worker(rig: Rig) -> None:
    rig.take(replace(record(1), timestamp=1 << 63))
    assert [type(each) for each in rig.failures] == [struct.error]


# -- after a kill


async def test_a_suspect_is_alone_until_the_device_has_come_back_from_it(tmp_path: Path) -> None:
    before = Rig(tmp_path)
    before.take(record(1))
    before.isolation._journal.close()
    rig = Rig(tmp_path)
    rig.take(record(1), record(7, partition=1))
    rig.start(1)
    rig.judges.held = {1}
    rig.pipeline.revoke([A])
    assert rig.judges.offsets == [1]
    rig.pipeline.let_go(rig.asked(1))
    assert rig.judges.offsets == [1, 7]


async def test_suspects_are_judged_one_after_the_other_and_the_condemned_not_at_all(tmp_path: Path) -> None:
    before = Rig(tmp_path)
    before.take(record(1), record(2))
    for _ in range(2):  # kills, the last two with nothing else in flight
        before.isolation._journal.close()
        before = Rig(tmp_path)
        before.take(record(1))
    before.isolation._journal.close()
    rig = Rig(tmp_path)
    rig.take(record(1), record(2), record(3))
    (letter,) = rig.broker.sent
    assert isinstance(letter.outcome, DeadLetter) and letter.outcome.error_type == "killed_the_worker"
    assert rig.judges.offsets == [2], "it is a suspect, and goes alone"
    rig.judge(2)
    rig.confirm()
    assert rig.judges.offsets == [2, 3]


async def test_of_suspects_that_are_given_back_together_none_begins(tmp_path: Path) -> None:
    before = Rig(tmp_path)
    before.take(record(1), record(2), record(3))
    before.isolation._journal.close()
    rig = Rig(tmp_path)
    rig.take(record(1), record(2), record(3))
    await rig.pipeline.drain([A])
    assert rig.judges.offsets == [1]
