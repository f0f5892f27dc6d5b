"""Key order: verdicts of one key leave in the order of its events, whatever is finished first."""

import asyncio
import random

import pytest

from worker.stream.key_order import KeyOrder


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_first_of_a_key_waits_for_nobody() -> None:
    turn = KeyOrder().enter(b"k")
    async with asyncio.timeout(60):
        await turn.wait()


async def test_the_next_of_a_key_waits_until_the_one_before_left() -> None:
    order = KeyOrder()
    first, second = order.enter(b"k"), order.enter(b"k")
    waiting = asyncio.create_task(second.wait())
    await settle()
    assert not waiting.done()
    first.leave()
    async with asyncio.timeout(60):
        await waiting


async def test_who_comes_when_all_have_left_waits_for_nobody() -> None:
    order = KeyOrder()
    order.enter(b"k").leave()
    async with asyncio.timeout(60):
        await order.enter(b"k").wait()


async def test_keys_do_not_wait_for_each_other() -> None:
    order = KeyOrder()
    order.enter(b"a")
    async with asyncio.timeout(60):
        await order.enter(b"b").wait()
        await order.enter(b"").wait()


async def test_records_without_a_key_have_no_order() -> None:
    order = KeyOrder()
    turns = [order.enter(None) for _ in range(3)]
    async with asyncio.timeout(60):
        for turn in reversed(turns):
            await turn.wait()
            turn.leave()
    assert len(order) == 0


async def test_leaving_twice_lets_nobody_overtake() -> None:
    order = KeyOrder()
    first, second, third = (order.enter(b"k") for _ in range(3))
    waiting = asyncio.create_task(third.wait())
    first.leave()
    first.leave()
    await settle()
    assert not waiting.done()
    second.leave()
    async with asyncio.timeout(60):
        await waiting
    third.leave()
    assert len(order) == 0


async def test_leaving_out_of_turn_lets_nobody_overtake() -> None:
    order = KeyOrder()
    first, second, third = (order.enter(b"k") for _ in range(3))
    waiting = asyncio.create_task(third.wait())
    second.leave()
    await settle()
    assert not waiting.done()
    first.leave()
    async with asyncio.timeout(60):
        await waiting


async def test_a_key_is_forgotten_with_its_last_event() -> None:
    order = KeyOrder()
    first, second, other = order.enter(b"k"), order.enter(b"k"), order.enter(b"other")
    assert len(order) == 2
    first.leave()
    assert len(order) == 2
    second.leave()
    assert len(order) == 1
    other.leave()
    assert len(order) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_judged_first_every_key_keeps_its_order_and_nobody_waits_for_ever(seed: int) -> None:
    rng = random.Random(seed)
    order, left = KeyOrder(), list[tuple[bytes | None, int]]()
    keys: list[bytes | None] = [rng.choice([b"a", b"b", b"c", None]) for _ in range(200)]

    async def handle(number: int, key: bytes | None) -> None:
        turn = turns[number]
        try:
            for _ in range(rng.randrange(20)):
                await asyncio.sleep(0)
            if rng.random() < 0.1:
                raise ValueError
            await turn.wait()
            left.append((key, number))
        finally:
            turn.leave()

    turns = [order.enter(key) for key in keys]
    tasks = [asyncio.create_task(handle(number, key)) for number, key in enumerate(keys)]
    rng.shuffle(tasks)
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks, return_exceptions=True)
    await settle()
    for key in (b"a", b"b", b"c"):
        numbers = [number for each, number in left if each == key]
        assert numbers == sorted(numbers)
        assert numbers
    assert len(order) == 0


async def test_who_is_cancelled_while_waiting_lets_nobody_overtake_and_leaves_no_trace() -> None:
    order = KeyOrder()
    first, second, third = (order.enter(b"k") for _ in range(3))
    cancelled, waiting = asyncio.create_task(second.wait()), asyncio.create_task(third.wait())
    await settle()
    cancelled.cancel()
    await settle()
    second.leave()
    await settle()
    assert cancelled.cancelled()
    assert not waiting.done()  # the first is still there
    first.leave()
    async with asyncio.timeout(60):
        await waiting
    third.leave()
    assert len(order) == 0
