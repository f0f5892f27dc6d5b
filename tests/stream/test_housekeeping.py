"""The house is kept from time to time, and the task goes on where there is nothing to do."""

import asyncio
import gc
import weakref

import pytest

from worker.stream import housekeeping


@pytest.mark.parametrize(("can", "times"), [(True, 3), (False, 1)])
async def test_free_memory_is_given_back_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, can: bool, times: int
) -> None:
    asked: list[bool] = []

    def give_back() -> bool:
        asked.append(can)
        return can

    monkeypatch.setattr(housekeeping, "give_back_free_memory", give_back)
    keeping = asyncio.create_task(housekeeping.keep_house(0.01))
    async with asyncio.timeout(60):
        while len(asked) < times:  # noqa: ASYNC110  # it goes on meanwhile
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert not keeping.done()
    assert can or len(asked) == 1
    keeping.cancel()


async def test_garbage_that_no_threshold_is_reached_for_is_collected() -> None:
    class Ring:
        pass

    ring = Ring()
    ring.itself = ring  # type: ignore[attr-defined]
    gone = weakref.ref(ring)
    gc.disable()
    try:
        gc.collect()  # it is no young object any more
        del ring
        keeping = asyncio.create_task(housekeeping.keep_house(0.01))
        async with asyncio.timeout(60):
            while gone() is not None:  # noqa: ASYNC110  # it goes on meanwhile
                await asyncio.sleep(0.01)
        keeping.cancel()
    finally:
        gc.enable()
