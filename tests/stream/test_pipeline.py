"""The way of the records, without Kafka and guards: the test says what is judged, and what the broker has."""

import asyncio
import gc
import struct
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from tests.stream.test_outcome_counts import verdict
from worker.contract.dead_letter import DeadLetter
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label
from worker.guards.runner import DeviceLost
from worker.moderation.moderator import Moderator
from worker.moderation.request import Request, tell
from worker.observability import metrics
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.dead_letters.stop import DeadLetterStop
from worker.stream.live_policies import LivePolicies
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.pipeline import Pipeline
from worker.stream.poison.isolation import Isolation
from worker.stream.poison.journal import traces_of
from worker.stream.publisher import Publisher
from worker.stream.start import Started
from worker.stream.work import Work

A, B = TopicPartition("chat.events", 0), TopicPartition("chat.events", 1)
EVENT = b'{"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": "hi"}]}'


def record(offset: int, *, partition: int = 0, key: bytes | None = None, value: bytes = EVENT) -> Any:
    return PlainRecord("chat.events", partition, offset, 1_700_000_000_000, key, value)


class Weak(SimpleNamespace):
    """A record that a weak reference can be kept of."""

    def __init__(self, record: PlainRecord) -> None:
        super().__init__(**{field.name: getattr(record, field.name) for field in fields(record)})


def stale() -> float:
    return float(metrics.STALE._value.get())


class Judges:
    """In the moderator's place: requests wait until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.offsets: list[int] = []  # of these, in their order
        self.given_up: list[int] = []
        self.held: set[int] = set()  # of those that a thread is at, the offsets

    def judge_all(self, requests: Sequence[Request]) -> None:
        self.asked += requests
        self.offsets += [request.record.offset for request in requests]

    def give_up(self, request: Request) -> None:
        self.given_up.append(request.record.offset)
        request.held = request.record.offset in self.held


class Broker:
    """In the publisher's place."""

    def __init__(self) -> None:
        self.sent: list[Work] = []
        self.raises: Exception | None = None

    def send(self, work: Work) -> None:
        if self.raises is not None:
            raise self.raises
        self.sent.append(work)

    @property
    def offsets(self) -> list[int]:
        return [work.offset for work in self.sent]


class Rig:
    """A pipeline and its surroundings."""

    def __init__(self, journal: Path) -> None:
        settings = Settings(journal_dir=journal)
        self.health, self.failures = Health(120, 15), list[BaseException]()
        self.health.phase = Phase.RUNNING
        stop = DeadLetterStop(settings, OrderlyStop())
        self.pipeline = Pipeline(settings, self.health, stop, self.failures.append)
        self.judges, self.broker, self.isolation = Judges(), Broker(), Isolation.of(settings)
        parts = Started(
            cast("Moderator", self.judges),
            LivePolicies(settings),
            cast("Any", None),
            cast("Publisher", self.broker),
            self.isolation,
        )
        self.pipeline.join(parts, OutcomeCounts(()))
        self.pipeline.progress.assign([A, B])

    def take(self, *records: Any) -> None:
        """A fetch."""
        fetched: dict[TopicPartition, list[Any]] = {}
        for each in records:
            fetched.setdefault(TopicPartition(each.topic, each.partition), []).append(each)
        self.pipeline.take(fetched)

    def asked(self, *offsets: int) -> list[Request]:
        asked = list(zip(self.judges.offsets, self.judges.asked, strict=True))
        return [request for offset in offsets for at, request in asked if at == offset]

    def start(self, *offsets: int) -> None:
        """A guard has begun with these."""
        requests = self.asked(*offsets)
        for request in requests:
            request.started = True
        self.pipeline.started(requests)

    def answer(self, *offsets: int, error: BaseException | None = None) -> None:
        """Verdicts on these, or what keeps them from having one."""
        requests = self.asked(*offsets)
        for request in requests:
            if error is None:
                request.verdict = verdict(label=Label.SAFE)
            else:
                request.fail(error)
        tell(requests)

    def judge(self, *offsets: int) -> None:
        self.start(*offsets)
        self.answer(*offsets)

    def confirm(self, error: BaseException | None = None) -> None:
        """The broker has everything that was sent, or has not."""
        sent, self.broker.sent = self.broker.sent, []
        self.pipeline.settled(sent, error)

    @property
    def ends(self) -> dict[int, int]:
        return {each.partition: end for each, end in self.pipeline.progress.to_commit().items()}


def named_in(directory: Path) -> set[int]:
    """The offsets in the one journal."""
    (path,) = directory.iterdir()
    return {trace.name.offset for trace in traces_of(path.read_bytes())}


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
