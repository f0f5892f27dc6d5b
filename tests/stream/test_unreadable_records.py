"""A record that aiokafka cannot read: a dead letter like any other, and nothing near it is lost or repeated."""

import asyncio
import time
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.stream.raw_batches import RawRecord, batch_of, send_batch
from tests.stream.rig import Rig, chat_event, metric, until
from worker.contract.record import header
from worker.contract.verdict import verdict_id_of
from worker.exit_codes import ExitCode

TIME = int(time.time() * 1000)
BAD_NAME = b"caf\xe9"


def _good(text: str) -> RawRecord:
    return b"good", chat_event(text), [(b"traceparent", b"x")], TIME


def _bad(text: str) -> RawRecord:
    return b"bad", chat_event(text), [(BAD_NAME, b"\xff"), (b"fine", b"1")], TIME


async def _send(rig: Rig, partition: int, *records: RawRecord, codec: str = "none") -> list[UUID]:
    first = await send_batch(rig.bootstrap, rig.input_topic, partition, batch_of(records, codec))
    return [verdict_id_of(rig.input_topic, partition, first + n, TIME) for n in range(len(records))]


async def _abort_one(rig: Rig, partition: int) -> None:
    """A hole in the offsets that a reader of committed records steps over."""
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap, transactional_id=f"{rig.group}-aborts") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(rig.input_topic, b"aborted", partition=partition)
        await producer.abort_transaction()


async def test_unreadable_records_are_dead_letters_and_harm_no_neighbour(rig: Rig) -> None:
    good = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(200)])
    await _abort_one(rig, 0)
    bad = await _send(rig, 0, _bad("after a hole"), _bad("and another"), codec="lz4")
    first, second, third = await _send(rig, 1, _good("before"), _bad("in the middle"), _good("behind"), codec="zstd")
    good, bad = [*good, first, third], [*bad, second]
    good += await rig.send([(f"{n}".encode(), chat_event(f"hello again {n}")) for n in range(200)])
    bad += await _send(rig, 2, _bad("at the end"))
    with rig.worker("reads on", commit_interval_seconds=0.02) as worker:
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered([*good, *bad], seconds=120)
            bad += await _send(rig, 3, _bad("while it waits"))  # with nothing else to read
            await outcomes.until_answered(bad, seconds=120)
            good += await rig.send([(f"{n}".encode(), chat_event(f"hello at last {n}")) for n in range(50)])
            await outcomes.until_answered(good, seconds=120)
            await rig.no_lag()
            assert await asyncio.to_thread(worker.stop) == ExitCode.OK
            await outcomes.read_to_end()
    assert outcomes.ids.keys() == {*good, *bad}
    assert set(outcomes.ids.values()) == {1}
    dead = outcomes.of("dead_letter")
    assert {outcomes.id_of(each) for each in dead} == set(bad)
    for letter in dead:
        assert header(letter.headers, "moderation-error-type") == b"unreadable_record"
        assert (letter.key, header(letter.headers, "caf\\xe9"), header(letter.headers, "fine")) == (
            b"bad",
            b"\xff",
            b"1",
        )
        assert b"messages" in letter.value, "with the bytes of the record"


async def test_a_topic_that_begins_with_one_is_read_from_its_beginning(rig: Rig) -> None:
    """Nothing was handed over and nothing committed when the first fetch fails: no partition may lose a record."""
    bad = [each for partition in range(4) for each in await _send(rig, partition, _bad("first"))]
    good = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(300)])
    with rig.worker("from the beginning", commit_interval_seconds=0.02) as worker:
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered([*bad, *good], seconds=120)
            await until(lambda: metric(worker, "moderation_in_flight_events") == 0)
        worker.check()
    assert set(outcomes.ids.values()) == {1}
    assert outcomes.counts == {"safe": 300, "dead_letter": 4}


async def test_a_commit_within_its_batch_is_gone_on_from(rig: Rig) -> None:
    ids = await _send(rig, 0, _good("before"), _bad("answered"), _good("behind"), _bad("behind"), codec="gzip")
    async with AIOKafkaConsumer(
        bootstrap_servers=rig.bootstrap,
        group_id=rig.group,
        enable_auto_commit=False,  # else it may commit the end when it leaves, and the worker has nothing to do
    ) as consumer:
        partition = TopicPartition(rig.input_topic, 0)
        consumer.assign([partition])
        await consumer.commit({partition: 2})
    with rig.worker("goes on") as worker:
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids[2:], seconds=120)
            await rig.no_lag()
            assert await asyncio.to_thread(worker.stop) == ExitCode.OK
            await outcomes.read_to_end()
    assert outcomes.ids == {ids[2]: 1, ids[3]: 1}
    assert outcomes.counts == {"safe": 1, "dead_letter": 1}
