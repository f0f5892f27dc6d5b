"""Large values are read beside the event loop."""

import asyncio
import threading
from collections.abc import Sequence

import orjson
import pytest

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import PlainRecord
from worker.stream import event_reader as module
from worker.stream.event_reader import EventReader
from worker.stream.progress import PartitionProgress
from worker.stream.work import Work

SECONDS = 60


def value(characters: int) -> bytes:
    message = {"role": "user", "content": "x" * characters}
    return orjson.dumps({"event_id": "e", "conversation_id": "c", "messages": [message]})


class Reading:
    """A reader, and what it has read."""

    def __init__(self) -> None:
        self.read: list[Work] = []
        self._came = asyncio.Event()
        self.reader = EventReader(self._then)

    def _then(self, works: Sequence[Work]) -> None:
        self.read += works
        self._came.set()

    def start(self, *values: bytes | None) -> list[Work]:
        records = [PlainRecord("t", 0, offset, value=value) for offset, value in enumerate(values)]
        works = [Work(record, 0.0, lambda _works: None, PartitionProgress(0)) for record in records]
        self.reader.read(works)
        return works

    async def until(self, count: int) -> list[Work]:
        async with asyncio.timeout(SECONDS):
            while len(self.read) < count:
                self._came.clear()
                await self._came.wait()
        return self.read


@pytest.mark.parametrize("characters", [1, 1_000_000])
async def test_the_event_is_the_same_however_large(characters: int) -> None:
    reading = Reading()
    reading.start(value(characters))
    (work,) = await reading.until(1)
    assert work.event == read_chat_event(value(characters))


@pytest.mark.parametrize("broken", [None, b"no event", b"no event" * 10_000], ids=["none", "small", "large"])
async def test_what_cannot_be_read_is_told_as_ever(broken: bytes | None) -> None:
    reading = Reading()
    reading.start(broken)
    (work,) = await reading.until(1)
    assert isinstance(work.error, Unjudgeable)
    assert work.error.error_type == ("tombstone" if broken is None else "not_json")


async def test_small_ones_are_read_at_once_and_together() -> None:
    reading = Reading()
    works = reading.start(value(1), value(100_000), b"no event", value(2))
    assert reading.read == [works[0], works[2], works[3]]
    assert (await reading.until(4))[-1] is works[1]


async def test_the_loop_goes_on_while_large_values_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, under_way, most = threading.Semaphore(0), list[int](), list[int]()

    def slow(read: bytes) -> ChatEvent:
        under_way.append(1)
        most.append(len(under_way))
        assert go_on.acquire(timeout=SECONDS), "the event loop stood still"
        under_way.pop()
        return read_chat_event(read)

    monkeypatch.setattr(module, "read_chat_event", slow)
    reading = Reading()
    works = reading.start(*[value(100_000)] * 5)
    works[2].over = True  # given back before its turn
    for _ in range(4):
        await asyncio.sleep(0)
        go_on.release()
    assert await reading.until(4) == [works[0], works[1], works[3], works[4]]
    assert max(most) == 1


async def test_what_is_given_back_while_it_is_read_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(read: bytes) -> ChatEvent:
        began.set()
        assert go_on.wait(SECONDS)
        return read_chat_event(read)

    monkeypatch.setattr(module, "read_chat_event", slow)
    reading = Reading()
    gone, stays = reading.start(value(100_000), value(100_001))
    assert await asyncio.to_thread(began.wait, SECONDS)
    gone.over = True
    go_on.set()
    assert await reading.until(1) == [stays]


async def test_where_no_thread_can_be_started_the_record_is_told_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio, "to_thread", refuses)
    reading = Reading()
    reading.start(value(100_000))
    (work,) = await reading.until(1)
    assert isinstance(work.error, RuntimeError)


async def test_what_has_an_error_already_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_chat_event", lambda _value: pytest.fail("it was read"))
    condemned = Work(PlainRecord("t", 0, 0, value=value(1)), 0.0, lambda _works: None, PartitionProgress(0))
    condemned.error = Unjudgeable("killed_the_worker", "thrice", Stage.JUDGE)
    reading = Reading()
    reading.reader.read([condemned])
    assert reading.read == [condemned]
