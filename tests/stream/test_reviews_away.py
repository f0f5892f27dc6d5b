"""A reviews topic that cannot be read: it is told for as long as that lasts, and tried again whatever happened."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from worker.settings import Settings
from worker.stream.reviews import service as module
from worker.stream.reviews.service import Reviews


class Consumer:
    """Starts, fails at its first fetch, and stops as aiokafka's does while a broker is away."""

    started = 0

    def __init__(self, *_: object, **_settings: object) -> None:
        pass

    async def start(self) -> None:
        Consumer.started += 1

    async def getmany(self, **_: object) -> None:
        await asyncio.sleep(0)
        raise ConnectionError("the broker went away")

    async def stop(self) -> None:
        fetching = asyncio.create_task(asyncio.sleep(60))
        fetching.cancel()
        await fetching


async def test_a_fault_behind_the_start_is_told_until_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_wrong(_settings: object) -> list[object]:
        return []

    monkeypatch.setattr(module, "review_faults", nothing_wrong)
    monkeypatch.setattr(module, "AIOKafkaConsumer", Consumer)
    Consumer.started = 0
    reviews = Reviews(Settings.model_validate({"reviews_topic": "reviews"}), tuple, again_seconds=0.2)
    await reviews.on_start()
    unread: list[float | None] = []
    async with asyncio.timeout(60):
        while Consumer.started < 3:
            await asyncio.sleep(0.05)
            unread.append(REGISTRY.get_sample_value("moderation_reviews_unread"))
    await reviews.on_stop()
    assert set(unread) == {1.0}
