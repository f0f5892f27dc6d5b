"""The way of the records, and what goes wrong on it, without Kafka and guards."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaError

from tests.stream.pipeline_rig import EVENT, A, Rig, named_in, record
from worker.contract.dead_letter import DeadLetter
from worker.contract.record import PlainRecord
from worker.guards.runner import DeviceLost
from worker.observability.health import Phase


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# -- there and away


async def test_an_offset_is_finished_when_the_broker_has_the_outcome_and_not_before(rig: Rig) -> None:
    rig.take(record(5), record(6), record(1, partition=1))
    assert (rig.pipeline.in_flight.events, len(rig.pipeline.works)) == (3, 3)
    rig.judge(5, 6, 1)
    assert (sorted(rig.broker.offsets), rig.ends) == ([1, 5, 6], {})
    rig.confirm()
    assert rig.ends == {0: 7, 1: 2}
    assert (rig.pipeline.in_flight.events, rig.pipeline.in_flight.bytes, len(rig.pipeline.works)) == (0, 0, 0)


async def test_the_verdicts_of_a_key_leave_in_the_order_of_its_events(rig: Rig) -> None:
    rig.take(*(record(offset, key=b"k" if offset < 4 else b"other") for offset in range(5)))
    rig.start(*range(5))
    rig.answer(3, 4, 2)
    assert rig.broker.offsets == [4]
    rig.answer(0)
    assert rig.broker.offsets == [4, 0]
    rig.answer(1)
    assert rig.broker.offsets == [4, 0, 1, 2, 3]


async def test_what_cannot_be_read_is_a_dead_letter_when_all_before_it_have_started(rig: Rig) -> None:
    rig.take(record(1), record(2, value=b"not JSON"), record(3), record(4, value=b"not JSON either"))
    assert rig.broker.sent == []
    rig.start(1)
    assert rig.broker.offsets == [2]
    assert isinstance(rig.broker.sent[0].outcome, DeadLetter)
    rig.answer(3)  # a cached verdict: no guard has begun with it
    assert rig.broker.offsets == [2, 3, 4]


async def test_a_policy_that_is_not_known_is_a_dead_letter(rig: Rig) -> None:
    rig.take(record(1, value=EVENT.replace(b'"event_id"', b'"policy": "nobodys", "event_id"')))
    (work,) = rig.broker.sent
    assert isinstance(work.outcome, DeadLetter) and work.outcome.error_type == "unknown_policy"


async def test_large_and_small_records_find_their_order_again(rig: Rig) -> None:
    large = EVENT.replace(b"hi", b"x" * 100_000)
    rig.take(record(1, key=b"k", value=large), record(2, key=b"k"))
    assert rig.judges.offsets == [2]
    rig.judge(2)
    assert rig.broker.sent == []
    async with asyncio.timeout(60):
        while len(rig.judges.asked) < 2:  # noqa: ASYNC110  # a thread reads it
            await asyncio.sleep(0.001)
    rig.judge(1)
    assert rig.broker.offsets == [1, 2]


# -- what goes wrong


async def test_what_the_broker_does_not_take_ends_the_worker_and_nothing_overtakes_it(rig: Rig) -> None:
    rig.take(*(record(offset, key=b"k") for offset in range(3)))
    rig.judge(0)
    rig.confirm(KafkaError("gone"))
    rig.judge(1, 2)
    assert (rig.broker.sent, rig.ends) == ([], {})
    assert [type(each) for each in rig.failures] == [KafkaError], "told once"


@pytest.mark.parametrize("error", [DeviceLost("gone"), ValueError("a bug")])
async def test_a_record_that_ends_the_worker_stays_in_the_journal(rig: Rig, error: Exception, tmp_path: Path) -> None:
    rig.take(record(1), record(2))
    rig.start(1, 2)
    rig.answer(1, 2, error=error)
    assert (rig.failures, rig.ends) == ([error], {})
    assert named_in(tmp_path) == {1, 2}


async def test_a_step_that_fails_ends_the_worker(rig: Rig) -> None:
    rig.broker.raises = ValueError("nothing is left to leave out")
    rig.take(record(1))
    rig.judge(1)
    assert rig.failures == [rig.broker.raises]


async def test_when_it_drains_a_partition_of_before_is_nobodys_concern(rig: Rig) -> None:
    rig.take(record(1))
    rig.start(1)
    rig.pipeline.progress.revoke([A])
    rig.health.phase = Phase.DRAINING
    rig.answer(1, error=DeviceLost("gone"))
    assert rig.failures == []
    assert len(rig.pipeline.works) == 0


async def test_a_batch_that_hangs_ends_the_worker_though_all_of_it_was_given_back(rig: Rig, tmp_path: Path) -> None:
    rig.take(record(1))
    rig.start(1)
    rig.judges.held = {1}
    rig.pipeline.revoke([A])
    rig.pipeline.lost(error := DeviceLost("hangs"))
    assert (rig.failures, named_in(tmp_path)) == ([error], {1})


async def test_when_it_drains_what_was_given_back_may_hang(rig: Rig) -> None:
    rig.health.phase = Phase.DRAINING
    rig.pipeline.lost(DeviceLost("hangs"))
    assert rig.failures == []


# -- what is let go of


class Weak(SimpleNamespace):
    """A record that a weak reference can be kept of."""

    def __init__(self, record: PlainRecord) -> None:
        super().__init__(**{field.name: getattr(record, field.name) for field in fields(record)})


class Freed:
    """Which works are still there, without any help of the garbage collector."""

    def __init__(self, rig: Rig) -> None:
        self._refs = [weakref.ref(work.record) for work in rig.pipeline.works]

    @property
    def left(self) -> int:
        return sum(ref() is not None for ref in self._refs)


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "value",
    [b"not JSON" * 100, b'{"event_id": 7}', EVENT.replace(b'"event_id"', b'"policy": "nobodys", "event_id"')],
    ids=["not JSON", "no event", "unknown policy"],
)
async def test_a_dead_letter_is_let_go_of_with_its_cause(rig: Rig, value: bytes, no_collection: None) -> None:
    rig.take(*(Weak(record(offset, value=value)) for offset in range(20)))
    freed = Freed(rig)
    assert (len(rig.broker.sent), freed.left) == (20, 20)
    rig.confirm()
    assert freed.left == 0


async def test_of_what_is_finished_behind_an_unfinished_one_only_the_place_is_kept(
    rig: Rig, no_collection: None
) -> None:
    rig.take(*(Weak(record(offset)) for offset in range(20)))
    freed = Freed(rig)
    rig.judge(*range(1, 20))
    rig.confirm()
    rig.judges.asked.clear()
    assert (freed.left, rig.ends) == (1, {})


async def test_what_is_given_back_is_let_go_of(rig: Rig, no_collection: None) -> None:
    rig.take(*(Weak(record(offset, key=b"k")) for offset in range(20)))
    freed = Freed(rig)
    rig.start(*range(10))
    rig.pipeline.revoke([A])
    rig.judges.asked.clear()
    assert freed.left == 0
