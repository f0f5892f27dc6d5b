"""Lines in, lines out: as many and in their order, read no further ahead than needed."""

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from tests.fakes import fake_llama_guard
from worker.contract.verdict import verdict_id_of
from worker.guards.guard import Finding
from worker.guards.runner import DeviceLost
from worker.moderation.lines import LineJudge, event_of_text, without_line_ends
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.policy.policy import Policy
from worker.policy.store import PolicyStore

POLICIES = PolicyStore({"lenient": Policy(name="lenient", unsafe_threshold=0.9)}, {"acme": "lenient"})


@asynccontextmanager
async def line_judge(
    score_of: Callable[[str], float | Finding] = lambda text: 0.0, default_policy: str | None = None
) -> AsyncIterator[LineJudge]:
    options = ModeratorOptions({"llama_guard": 1000}, batch_wait=0.0)
    moderator = Moderator([fake_llama_guard(score_of)], options)
    try:
        async with asyncio.timeout(60):
            yield LineJudge(moderator, POLICIES, source="test", default_policy=default_policy)
    finally:
        moderator.close()


async def verdicts(judge: LineJudge, lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in judge.judge(lines)]


def line(text: str, **fields: Any) -> bytes:
    return json.dumps({**json.loads(event_of_text(text, 1)), **fields}).encode()


async def test_no_lines_give_none() -> None:
    async with line_judge() as judge:
        assert await verdicts(judge, []) == []


async def test_as_many_lines_come_out_as_go_in_and_in_their_order() -> None:
    async with line_judge(lambda text: int(text) / 1000) as judge:
        found = await verdicts(judge, (line(str(number), event_id=f"e{number}") for number in range(600)))
    assert [each["event_id"] for each in found] == [f"e{number}" for number in range(600)]
    assert [each["scores"]["unsafe"] for each in found] == [number / 1000 for number in range(600)]
    assert judge.malformed == 0


async def test_a_malformed_line_gives_an_error_with_its_number_and_is_counted() -> None:
    lines = [line("a"), b"{", b"", line("b"), line("c", policy="nowhere"), line("d", messages=[])]
    async with line_judge() as judge:
        found = await verdicts(judge, lines)
    assert [each.get("line") for each in found] == [None, 2, 3, None, 5, 6]
    assert [each["error"]["type"] for each in found if "error" in each] == [
        "not_json",
        "not_json",
        "unknown_policy",
        "invalid_event",
    ]
    assert found[4]["error"]["stage"] == "policy"
    assert found[5]["error"]["message"] == "messages: must not be empty"
    assert judge.malformed == 4


async def test_a_verdict_names_its_line_as_its_source() -> None:
    async with line_judge() as judge:
        (_, second) = await verdicts(judge, [line("a"), line("b")])
    assert second["source"] == {"topic": "test", "partition": 0, "offset": 1}
    assert second["verdict_id"] == str(verdict_id_of("test", 0, 1, 0))


@pytest.mark.parametrize(
    ("fields", "default", "policy"),
    [
        ({}, None, "default"),
        ({}, "lenient", "lenient"),
        ({"policy": "default"}, "lenient", "default"),
        ({"tenant": "acme"}, None, "lenient"),
        ({"tenant": "acme"}, "default", "default"),
    ],
)
async def test_the_default_policy_is_for_events_that_name_none(
    fields: dict[str, str], default: str | None, policy: str
) -> None:
    async with line_judge(default_policy=default) as judge:
        (verdict,) = await verdicts(judge, [line("a", **fields)])
    assert verdict["policy"]["name"] == policy


async def test_an_endless_input_is_read_lazily() -> None:
    read, enough = 0, threading.Event()

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            if read == 257:  # those on their way, and one more
                enough.set()
            yield line("a")

    go_on = threading.Event()

    def hold(text: str) -> float:
        assert go_on.wait(20)
        return 0.0

    async with line_judge(hold) as judge, aclosing(judge.judge(endless())) as answers:
        first = asyncio.ensure_future(anext(answers))
        assert await asyncio.to_thread(enough.wait, 20)
        for _ in range(100):
            await asyncio.sleep(0)
        assert read <= 258
        go_on.set()
        assert json.loads(await first)["label"] == "safe"
        for _ in range(50):
            await anext(answers)
        assert read <= 258 + 256


async def test_an_answer_does_not_wait_for_the_next_line() -> None:
    typed: queue.Queue[bytes | None] = queue.Queue()
    async with line_judge() as judge:
        answers = judge.judge(iter(typed.get, None))
        for text in ("a", "b"):
            typed.put(line(text, event_id=text))
            assert json.loads(await anext(answers))["event_id"] == text
        typed.put(None)
        assert [answer async for answer in answers] == []


async def test_who_stops_listening_stops_the_judging() -> None:
    async with line_judge() as judge:
        async with aclosing(judge.judge(line("a") for _ in range(1000))) as answers:
            await anext(answers)
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others) if others else None
        assert all(task.done() for task in others)


async def test_an_input_that_breaks_off_is_an_error() -> None:
    def broken() -> Iterator[bytes]:
        yield line("a")
        raise OSError("gone")

    async with line_judge() as judge:
        with pytest.raises(OSError, match="gone"):
            await verdicts(judge, broken())


async def test_a_lost_device_ends_the_judging() -> None:
    def lose(text: str) -> float:
        raise RuntimeError("CUDA error: gone")

    async with line_judge(lose) as judge:
        with pytest.raises(DeviceLost):
            await verdicts(judge, [line("a"), line("b"), line("c")])


def test_a_text_becomes_an_event_of_one_user_message() -> None:
    assert json.loads(event_of_text('say "ü"', 3)) == {
        "event_id": "text-3",
        "conversation_id": "text-3",
        "messages": [{"role": "user", "content": 'say "ü"'}],
    }


def test_line_ends_go_and_every_byte_is_counted() -> None:
    seen: list[int] = []
    assert list(without_line_ends([b"a\n", b"b\r\n", b"\n", b" c "], seen.append)) == [b"a", b"b", b"", b" c "]
    assert seen == [2, 3, 1, 3]
