"""Replay on the real Kafka: what is sent, what stays, and where the next run goes on."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from tests.stream.dead_letter_desk import COUNT, Desk, InputRecord
from tests.stream.foreign import produce
from tests.stream.rig import until
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.exit_codes import ExitCode
from worker.stream.dead_letters import replay as replay_module
from worker.stream.dead_letters.replay import FROM_OUTPUT, PAST_LIMIT, TOO_LARGE, VALUE_LEFT_OUT
from worker.stream.dead_letters.replay_position import Membership, ReplayRefused
from worker.stream.dead_letters.selection import Selection
from worker.stream.kafka.preflight import KafkaNotReady
from worker.stream.kafka.topic_reader import consumer_of

# `moderation-worker`, whose replay stands still in the middle of a chunk.
STANDS_STILL = """
import asyncio
from worker.cli import main
from worker.stream.dead_letters import replay

hand_over, handed = replay._hand_over, []

async def stands_still(*arguments):
    handed.append(None)
    if len(handed) > 1700:
        await asyncio.Event().wait()
    return await hand_over(*arguments)

replay._hand_over = stands_still
main.main()
"""


async def test_an_interrupted_replay_goes_on_where_it_was(desk: Desk) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic, f"{n}".encode()) for n in range(1500)))
    first = desk.replaying(on_progress=lambda *_: first.stop())
    await first.run()
    assert first.result.ended_early and 0 < first.result.replayed.total() < 1500
    assert len(await desk.input()) == first.result.replayed.total()
    second = await desk.replay()
    assert not second.ended_early
    assert first.result.replayed.total() + second.replayed.total() == 1500
    assert Counter(int(each.value) for each in await desk.input()) == Counter(range(1500)), "each exactly once"
    assert (await desk.replay()).replayed.total() == 0, "a third one finds nothing"
    again = await desk.replay(from_beginning=True, dry_run=True)
    assert again.replayed == {desk.rig.input_topic: 1500}


async def test_a_replay_that_fails_has_committed_what_was_confirmed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic, f"{n}".encode()) for n in range(400)))
    hand_over, handed = replay_module._hand_over, []

    async def fails_at_50(*arguments: Any) -> Awaitable[object]:
        handed.append(arguments)
        if len(handed) <= 50:
            return await hand_over(*arguments)
        refused: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        refused.set_exception(TopicAuthorizationFailedError(desk.rig.input_topic))
        return refused

    monkeypatch.setattr(replay_module, "_hand_over", fails_at_50)
    with pytest.raises(TopicAuthorizationFailedError):
        await desk.replay()
    monkeypatch.undo()
    gc.collect()
    assert "never retrieved" not in caplog.text, "the failure is told once, not for each record behind it"
    assert (await desk.replay()).replayed.total() == 350
    assert Counter(int(each.value) for each in await desk.input()) == Counter(range(400)), "each exactly once"


@pytest.mark.chaos
async def test_a_killed_replay_repeats_a_little_and_loses_nothing(desk: Desk) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic, f"{n}".encode()) for n in range(3000)))
    command = (sys.executable, "-c", STANDS_STILL, "dead-letters", "replay")
    process = await asyncio.create_subprocess_exec(*command, env=desk.environment, stdout=subprocess.DEVNULL)
    async with asyncio.timeout(120):
        while len(await desk.input()) < 1700:
            assert process.returncode is None
    process.kill()
    await process.wait()
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(ReplayRefused):  # the group waits for the killed one
                await desk.replay()
                break
            await asyncio.sleep(0.5)
    found = Counter(int(each.value) for each in await desk.input())
    assert found.keys() == set(range(3000))
    assert 3000 < found.total() <= 3500, "a chunk at most comes again"


async def test_a_dry_run_sends_nothing_and_keeps_no_position(desk: Desk) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic) for _ in range(3)))
    ended = await desk.command("replay", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    *lines, summary = ended.stdout.splitlines()
    assert len(lines) == 3 and all(line.endswith(f"-> {desk.rig.input_topic}") for line in lines)
    assert summary == f"3 would be replayed: {desk.rig.input_topic} 3"
    assert await desk.input() == []
    assert (await desk.replay()).replayed.total() == 3


async def test_what_cannot_be_replayed_stays_with_its_reason_and_strangers_are_skipped(desk: Desk) -> None:
    topic = desk.rig.input_topic
    await desk.put(InputRecord(topic), light=True)
    await desk.put(InputRecord(topic, headers=[(COUNT, b"3")]))
    await desk.put(InputRecord(desk.rig.outputs["dead_letter_topic"]))
    headers = DeadLetter.of(InputRecord(topic), Unjudgeable("tombstone", "no value", Stage.READ)).headers
    await asyncio.to_thread(produce, desk.rig.bootstrap, desk.rig.outputs["dead_letter_topic"], [(None, None, headers)])
    await desk.put_other()
    await desk.put_other([("moderation-error-type", b"not_json"), ("moderation-source-partition", b"one")])
    result = await desk.replay()
    assert result.stayed == {VALUE_LEFT_OUT: 1, PAST_LIMIT: 1, FROM_OUTPUT: 1}
    assert (result.replayed.total(), result.tally.without_headers) == (1, 2)
    (record,) = await desk.input()
    assert (record.key, record.value) == (None, b""), "aiokafka's producer refuses neither"


async def test_replay_to_another_topic_that_takes_less(desk: Desk, topics: Callable[..., str]) -> None:
    small = topics(partitions=4, config={"max.message.bytes": "3000"})
    await desk.put(InputRecord("long.gone", b"x" * 5000), InputRecord("long.gone", b"small"))
    result = await desk.replay(to=small)
    assert (result.replayed, result.stayed) == ({small: 1}, {TOO_LARGE: 1})
    assert [record.value for record in await desk.input(small)] == [b"small"]


async def test_a_source_topic_that_is_gone_ends_the_replay_before_anything_is_passed_over(desk: Desk) -> None:
    await desk.put(InputRecord("long.gone"))
    with pytest.raises(KafkaNotReady, match=r"topic long\.gone does not exist"):
        await desk.replay()
    assert (await desk.replay(to=desk.rig.input_topic)).replayed.total() == 1


async def test_other_filters_are_refused_where_they_would_leave_something_out(desk: Desk) -> None:
    topic = desk.rig.input_topic
    await desk.put(InputRecord(topic, b"a"), cause="unknown_policy")
    await desk.put(InputRecord(topic, b"b"), InputRecord(topic, b"c"))
    only = Selection(causes=("unknown_policy",))
    first = await desk.replay(selection=only)
    assert (first.replayed.total(), first.tally.passed_over) == (1, 2)
    with pytest.raises(ReplayRefused, match=r"reached with other filters \(--cause unknown_policy\)"):
        await desk.replay()
    assert (await desk.replay(selection=only)).replayed.total() == 0, "the same filters go on"
    assert (await desk.replay(selection=Selection(causes=("not_json",)), group=uuid.uuid4().hex)).replayed.total() == 2
    assert (await desk.replay(from_beginning=True)).replayed.total() == 3
    assert (await desk.replay(selection=only)).replayed.total() == 0, "everything passes nothing over"


async def test_two_replays_do_not_share_a_group(desk: Desk) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic, f"{n}".encode()) for n in range(100)))
    async with consumer_of(desk.settings, f"{desk.rig.group}-replay") as other:
        other.subscribe([desk.rig.outputs["dead_letter_topic"]])
        await until(lambda: bool(other.assignment()))
        ended = await desk.command("replay")
        assert ended.returncode == ExitCode.FAILED
        assert "is in use by another replay" in ended.stderr and ended.stderr.count("\n") == 1
    assert await desk.input() == []


async def test_a_replay_that_another_one_joins_finishes_what_it_sends_and_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.put(*(InputRecord(desk.rig.input_topic, f"{n}".encode()) for n in range(100)))
    hand_over, joined = replay_module._hand_over, asyncio.Event()
    revoked, told = Membership.on_partitions_revoked, asyncio.Event()
    other = consumer_of(desk.settings, f"{desk.rig.group}-replay")
    await other.start()

    async def while_the_other_joins(*arguments: Any) -> Awaitable[object]:
        if not joined.is_set():
            joined.set()
            other.subscribe([desk.rig.outputs["dead_letter_topic"]])
            await asyncio.wait_for(told.wait(), 120)
        return await hand_over(*arguments)

    async def tells(self: Membership, partitions: Any) -> None:
        if joined.is_set():
            told.set()
        await revoked(self, partitions)

    monkeypatch.setattr(Membership, "on_partitions_revoked", tells)
    monkeypatch.setattr(replay_module, "_hand_over", while_the_other_joins)
    with pytest.raises(ReplayRefused, match="another member joined group"):
        await desk.replay()
    assert 0 < len(await desk.input()) < 100
    await other.stop()
    await desk.replay()
    assert Counter(int(each.value) for each in await desk.input()) == Counter(range(100)), "each exactly once"
