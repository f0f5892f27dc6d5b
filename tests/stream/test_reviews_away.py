"""A reviews topic that cannot be read: it is told for as long as that lasts, and tried again whatever happened."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from worker.settings import Settings
from worker.stream.reviews import service as module
from worker.stream.reviews.service import Reviews


class Consumer:
    """Starts, fails at its first fetch, and stops as aiokafka's does while a broker is away."""

    started = stopped = 0

    def __init__(self, *_: object, **_settings: object) -> None:
        pass

    async def start(self) -> None:
        Consumer.started += 1

    async def getmany(self, **_: object) -> None:
        await asyncio.sleep(0)
        raise ConnectionError("the broker went away")

    async def stop(self) -> None:
        Consumer.stopped += 1
        fetching = asyncio.create_task(asyncio.sleep(60))
        fetching.cancel()
        await fetching


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Reviews]:
    """Reviews whose consumers fail: `reviews = failing(again_seconds)`."""

    async def nothing_wrong(_settings: object) -> list[object]:
        return []

    def make(again_seconds: float) -> Reviews:
        return Reviews(Settings.model_validate({"reviews_topic": "reviews"}), tuple, again_seconds=again_seconds)

    monkeypatch.setattr(module, "review_faults", nothing_wrong)
    monkeypatch.setattr(module, "AIOKafkaConsumer", Consumer)
    Consumer.started = Consumer.stopped = 0
    return make


async def test_a_fault_behind_the_start_is_told_until_the_next_try(failing: Callable[[float], Reviews]) -> None:
    reviews = failing(3600)
    await reviews.on_start()
    async with asyncio.timeout(60):
        while not Consumer.stopped or REGISTRY.get_sample_value("moderation_reviews_unread") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await reviews.on_stop()
    assert Consumer.started == 1


async def test_after_a_fault_it_is_tried_again(failing: Callable[[float], Reviews]) -> None:
    reviews = failing(0.01)
    await reviews.on_start()
    async with asyncio.timeout(60):
        while Consumer.started < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await reviews.on_stop()
