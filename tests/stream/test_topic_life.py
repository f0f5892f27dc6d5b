"""Topics that go, come back and grow while the worker runs."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.stream.foreign import produce
from tests.stream.rig import Rig, chat_event
from worker.exit_codes import ExitCode
from worker.stream.kafka.topics import TopicSpec, create_topics, describe_topics


async def _delete(rig: Rig, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(60):  # the broker hears of it a moment after it has answered
            while (await describe_topics([topic], bootstrap_servers=rig.bootstrap))[topic]:  # noqa: ASYNC110  # remote
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def _create(rig: Rig, topic: str) -> None:
    """As new: the broker may still be at the deletion of the old one."""
    async with asyncio.timeout(60):
        while True:
            (result,) = await create_topics([TopicSpec(topic, 4, 1, {})], bootstrap_servers=rig.bootstrap)
            if result.created:
                return
            await asyncio.sleep(0.1)


@pytest.mark.chaos
async def test_an_input_topic_that_goes_ends_the_worker_with_a_line_that_says_so(rig: Rig) -> None:
    with rig.worker("left alone", input_gone_seconds=3) as worker:
        await rig.ready(worker)
        ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(100)])
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
        await _delete(rig, rig.input_topic)
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CRASH
    assert f"the input topic {rig.input_topic} has been gone for 3 s" in worker.log.read_text()
    with rig.worker("cannot begin") as worker:
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CONFIG
    assert f"topic {rig.input_topic} does not exist: create it with" in worker.log.read_text()


async def test_an_output_topic_that_goes_and_comes_back_costs_nothing(rig: Rig) -> None:
    with rig.worker("waits for it") as worker:
        await rig.ready(worker)
        first = await rig.send([(b"k", chat_event("hello"))])
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(first)
        await _delete(rig, rig.outputs["safe_topic"])
        ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(200)])
        await _create(rig, rig.outputs["safe_topic"])
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
            await outcomes.read_to_end()
        assert outcomes.ids.keys() == set(ids) and set(outcomes.ids.values()) == {1}
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK


@pytest.mark.chaos  # the producer tries for two minutes
async def test_an_output_topic_that_stays_away_ends_the_worker_and_nothing_is_committed(rig: Rig) -> None:
    with rig.worker("gives up") as worker:
        await rig.ready(worker)
        await _delete(rig, rig.outputs["safe_topic"])
        ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(20)])
        assert await asyncio.to_thread(worker.wait, 240) == ExitCode.CRASH
    assert set((await rig.committed()).values()) == {0}
    await _create(rig, rig.outputs["safe_topic"])
    with rig.worker("goes on"):
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)


@pytest.mark.chaos  # metadata are asked for every 30 s
async def test_new_partitions_are_judged_from_their_beginning_without_a_restart(rig: Rig) -> None:
    with rig.worker("grows") as worker:
        await rig.ready(worker)
        ids = await rig.send([(f"{n}".encode(), chat_event(f"hello {n}")) for n in range(50)])
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
            admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
            await admin.start()
            await admin.create_partitions({rig.input_topic: NewPartitions(total_count=6)})
            await admin.close()
            # At once, long before the worker knows of them.
            records = [(f"{n}".encode(), chat_event(f"bomb {n}"), ()) for n in range(300)]
            sent = await asyncio.to_thread(produce, rig.bootstrap, rig.input_topic, records)
            assert {4, 5} <= {each.partition for each in sent}
            ids += [each.id for each in sent]
            await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
            await outcomes.read_to_end()
            assert outcomes.ids.keys() == set(ids) and set(outcomes.ids.values()) == {1}
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK
