"""The consumer's answers, one by one, with a fake in aiokafka's place: what a commit refused means, and where reading
goes on after a record that cannot be read."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from tests.stream.fake_consumer import BAD, FakeConsumer
from tests.stream.works import taken
from worker.observability import metrics
from worker.settings import Settings
from worker.stream import source as module
from worker.stream.commits import Commits
from worker.stream.kafka.raw_records import RawRecord
from worker.stream.kafka.unreadable import Impasse
from worker.stream.progress import Progress
from worker.stream.source import Source

ONE, TWO = TopicPartition("chat.events", 0), TopicPartition("chat.events", 1)


def _record(partition: TopicPartition, offset: int, *, readable: bool = True) -> RawRecord:
    return RawRecord(partition.topic, partition.partition, offset, 0, None, b"{}", [], readable)


@pytest.fixture
async def joined(monkeypatch: pytest.MonkeyPatch) -> tuple[Source, FakeConsumer]:
    """A source on two partitions of three records each; the second record of the first cannot be read."""
    monkeypatch.setattr(module, "AIOKafkaConsumer", FakeConsumer)

    async def impasse_at(_settings: object, partition: TopicPartition, position: int) -> Impasse:
        assert (partition, position) == (ONE, 1)
        return Impasse([_record(ONE, 1, readable=False)], 2)

    monkeypatch.setattr(module, "impasse_at", impasse_at)
    source = Source(Settings.model_validate({}))

    async def ignored(*_: object) -> None:
        pass

    await source.connect()
    source.join(lambda partitions: None, ignored, ignored)
    consumer: FakeConsumer = source._consumer
    consumer.log = {ONE: [_record(ONE, 0), BAD, _record(ONE, 2)], TWO: [_record(TWO, n) for n in range(3)]}
    await consumer.assign([ONE, TWO])
    return source, consumer


# -- commits ----------------------------------------------------------------------------------------------------------


def _one_finished() -> Progress[TopicPartition]:
    """A record that is finished, and not committed."""
    progress: Progress[TopicPartition] = Progress()
    progress.assign([ONE])
    entry = taken(progress, ONE, 0)
    progress.done(entry)
    return progress


@pytest.mark.parametrize(
    "answer",
    [CommitFailedError("the group is rebalancing"), IllegalStateError("not ours any more"), TimeoutError()],
    ids=lambda answer: type(answer).__name__,
)
async def test_a_commit_that_is_refused_is_said_again_by_the_next_one(
    joined: tuple[Source, FakeConsumer], answer: BaseException
) -> None:
    source, consumer = joined
    progress = _one_finished()
    told: list[Mapping[TopicPartition, int]] = []
    commits = Commits(source, progress, told.append, lambda: False)
    metrics.LAST_COMMIT.set(0)
    consumer.commit_answer = answer
    await commits.now()
    assert told == [] and progress.to_commit(), "it is not forgotten"
    assert metrics.LAST_COMMIT._value.get() == 0
    consumer.commit_answer = None
    await commits.now()
    assert told and not progress.to_commit()
    assert metrics.LAST_COMMIT._value.get() > 0


async def test_the_last_commit_is_tried_until_it_is_taken(
    joined: tuple[Source, FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, consumer = joined
    progress = _one_finished()
    monkeypatch.setattr("worker.stream.commits._AGAIN_SECONDS", 0)
    consumer.commit_answer = TimeoutError()
    last = asyncio.create_task(Commits(source, progress, lambda _: None, lambda: False).last())
    for _ in range(30):
        await asyncio.sleep(0)
    assert not last.done()
    consumer.commit_answer = None
    await asyncio.wait_for(last, 60)
    assert not progress.to_commit()


@pytest.mark.parametrize("cause", [UnknownMemberIdError(), IllegalGenerationError()])
async def test_whom_the_group_has_expelled_commits_no_more_until_it_is_back(
    joined: tuple[Source, FakeConsumer], cause: KafkaError
) -> None:
    """aiokafka has forgotten its name by then, and a group without members takes a commit from anybody."""
    source, consumer = joined
    consumer.commit_answer = refusal = CommitFailedError("the group has rebalanced")
    refusal.__cause__ = cause
    assert not await source.commit({ONE: 1})
    consumer.commit_answer = None
    assert not await source.commit({ONE: 1})
    assert source.expelled
    await consumer.assign([ONE])
    assert await source.commit({ONE: 1})


@pytest.mark.parametrize("ends", ["expelled", "given up"])
async def test_the_last_commit_is_not_tried_where_it_cannot_be_taken(
    joined: tuple[Source, FakeConsumer], ends: str
) -> None:
    source, consumer = joined
    progress = _one_finished()
    consumer.commit_answer = refusal = CommitFailedError("the group has rebalanced")
    refusal.__cause__ = UnknownMemberIdError() if ends == "expelled" else RebalanceInProgressError()
    await asyncio.wait_for(Commits(source, progress, lambda _: None, lambda: ends == "given up").last(), 60)
    assert progress.to_commit()


async def test_after_a_failure_no_position_is_committed_only_what_is_finished(
    joined: tuple[Source, FakeConsumer],
) -> None:
    """What was fetched in the moment of the failure may be known to nobody."""
    source, consumer = joined
    consumer.positions[ONE] = 9
    failed = False
    progress = _one_finished()
    commits = Commits(source, progress, lambda _: None, lambda: failed)
    failed = True
    await commits.now()
    assert consumer.committed_offsets[ONE] == 1
    failed = False
    await commits.now()
    assert consumer.committed_offsets[ONE] == 9


@pytest.mark.parametrize(
    ("known", "answer", "gone"),
    [
        ({"chat.events"}, KafkaError("no broker"), False),  # it was there when the brokers went
        (set(), {"chat.events", "another"}, False),  # the client has not heard of it yet
        (set(), {"another"}, True),
        (set(), KafkaError("no broker"), False),  # the brokers went before the client heard of it
        (set(), TimeoutError(), False),
    ],
)
async def test_the_input_topic_is_gone_where_the_cluster_says_so_not_where_nobody_answers(
    joined: tuple[Source, FakeConsumer], known: set[str], answer: BaseException | set[str], gone: bool
) -> None:
    source, consumer = joined
    consumer.known, consumer.topics_answer = known, answer
    assert await source.topic_gone() is gone
    committing = Commits(source, Progress(), lambda _: None, lambda: False).often(0.01, 0.03)
    if gone:
        with pytest.raises(RuntimeError, match=r"the input topic chat\.events has been gone"):
            await committing
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(committing, 0.2)


@pytest.mark.parametrize("answer", [GroupAuthorizationFailedError("g"), KafkaError("what nobody expected")])
async def test_what_no_later_commit_could_mend_is_raised(
    joined: tuple[Source, FakeConsumer], answer: KafkaError
) -> None:
    source, consumer = joined
    consumer.commit_answer = answer
    with pytest.raises(type(answer)):
        await source.commit({ONE: 1})


# -- a record that cannot be read -------------------------------------------------------------------------------------


async def _all(source: Source) -> list[tuple[int, int, bool]]:
    """Everything, in the order of the hand-over, as (partition, offset, readable)."""
    found: list[tuple[int, int, bool]] = []
    async with asyncio.timeout(60):
        while len(found) < 6:
            await asyncio.sleep(0)  # the fake never waits
            for records in (await source.fetch(10)).values():
                found += [(each.partition, each.offset, each.readable) for each in records]
    return found


@pytest.mark.parametrize("name", ["0 first", "1 first"])
async def test_everything_is_handed_over_once_and_in_order(joined: tuple[Source, FakeConsumer], name: str) -> None:
    """Whichever partition comes first: the one that was at hand already when the fetch failed loses nothing."""
    source, consumer = joined
    if name == "1 first":
        consumer.positions = {TWO: 0, ONE: 0}
    found = await _all(source)
    for partition in (0, 1):
        assert [offset for each, offset, _ in found if each == partition] == [0, 1, 2]
    assert [place[:2] for place in found if not place[2]] == [(0, 1)]


async def test_no_position_is_told_while_it_is_ahead_of_what_was_handed_over(
    joined: tuple[Source, FakeConsumer],
) -> None:
    source, _ = joined
    assert await source.position(TWO) == 0
    assert await source.fetch(10) == {}
    assert await source.position(TWO) is None
    await _all(source)
    assert (await source.position(ONE), await source.position(TWO)) == (3, 3)


async def test_an_assignment_ends_the_search(joined: tuple[Source, FakeConsumer]) -> None:
    source, consumer = joined
    await source.fetch(10)
    await consumer.assign([TWO])
    assert await source.position(TWO) == 0
    assert [each.offset for each in (await source.fetch(10))[TWO]] == [0, 1, 2]


async def test_a_rebalance_during_the_search_moves_no_position(
    joined: tuple[Source, FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka has the next assignment in place, and wakes who waits for it, some steps before it tells of it."""
    source, consumer = joined

    async def impasse_at(*_: object) -> Impasse:
        await consumer.listener.on_partitions_revoked([ONE, TWO])
        consumer.positions = {ONE: 0, TWO: 0}  # assigned, to us once more; nothing was committed
        return Impasse([_record(ONE, 1, readable=False)], 2)

    await source.fetch(10)
    consumer.positions[ONE] = 1
    monkeypatch.setattr(module, "impasse_at", impasse_at)
    assert await source.fetch(10) == {}
    assert consumer.positions[ONE] == 0, "what lies before is read by nobody else"
    assert await source.position(ONE) is None
    await consumer.assign([ONE, TWO])
    assert await source.position(ONE) == 0


async def test_no_position_is_told_after_a_fetch_that_failed(
    joined: tuple[Source, FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka throws away what it had at hand of the other partitions, whose positions have moved."""
    source, consumer = joined

    async def corrupt(*_: object, **_options: object) -> None:
        consumer.positions[TWO] = 3
        raise CorruptRecordException("a batch")

    monkeypatch.setattr(consumer, "getmany", corrupt)
    with pytest.raises(CorruptRecordException):
        await source.fetch(10)
    assert await source.position(TWO) is None


# -- where partitions end ---------------------------------------------------------------------------------------------


async def test_a_partition_without_a_leader_does_not_silence_all_others(joined: tuple[Source, FakeConsumer]) -> None:
    source, consumer = joined
    asked: list[list[TopicPartition]] = []

    async def end_offsets(partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        asked.append(partitions)
        if ONE in partitions:
            raise TimeoutError
        return dict.fromkeys(partitions, 7)

    consumer.end_offsets = end_offsets  # type: ignore[attr-defined]
    found = {tuple((await source.ends([ONE, TWO])).items()) for _ in range(60)}
    assert found == {(), ((TWO, 7),)}
    assert {len(each) for each in asked} == {1, 2}
