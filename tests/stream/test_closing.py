"""A part that is not closed in order keeps nobody from closing the next."""

import asyncio

import pytest
from structlog.testing import capture_logs

from worker.stream.closing import closed


async def test_what_a_part_raises_is_logged_and_returned() -> None:
    error = RuntimeError("no broker")

    async def close() -> None:
        raise error

    with capture_logs() as lines:
        assert await closed(close) is error
    assert [(line["event"], line["cause"]) for line in lines] == [("not closed in order", "RuntimeError: no broker")]


async def test_a_part_that_is_closed_in_order_says_nothing() -> None:
    with capture_logs() as lines:
        assert await closed(lambda: asyncio.sleep(0)) is None
    assert lines == []


async def test_a_cancellation_of_its_own_is_no_cancellation_of_ours() -> None:
    async def close() -> None:
        fetching = asyncio.create_task(asyncio.sleep(60))
        fetching.cancel()
        await fetching

    assert isinstance(await closed(close), asyncio.CancelledError)


async def test_our_own_cancellation_is_raised() -> None:
    closing = asyncio.create_task(closed(lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
