"""Large values are read beside the event loop."""

import asyncio
import threading

import orjson
import pytest

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.errors import Unjudgeable
from worker.stream import event_reader as module
from worker.stream.event_reader import EventReader

SECONDS = 60


def value(characters: int) -> bytes:
    message = {"role": "user", "content": "x" * characters}
    return orjson.dumps({"event_id": "e", "conversation_id": "c", "messages": [message]})


@pytest.mark.parametrize("characters", [1, 1_000_000])
async def test_the_event_is_the_same_however_large(characters: int) -> None:
    assert await EventReader().read(value(characters)) == read_chat_event(value(characters))


@pytest.mark.parametrize("broken", [None, b"no event", b"no event" * 10_000], ids=["none", "small", "large"])
async def test_what_cannot_be_read_is_told_as_ever(broken: bytes | None) -> None:
    with pytest.raises(Unjudgeable) as caught:
        await EventReader().read(broken)
    assert caught.value.error_type == ("tombstone" if broken is None else "not_json")


async def test_the_loop_goes_on_while_large_values_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, under_way, most = threading.Semaphore(0), [], []

    def slow(read: bytes) -> ChatEvent:
        under_way.append(1)
        most.append(len(under_way))
        assert go_on.acquire(timeout=SECONDS), "the event loop stood still"
        under_way.pop()
        return read_chat_event(read)

    monkeypatch.setattr(module, "read_chat_event", slow)
    reader = EventReader()
    reading = [asyncio.create_task(reader.read(value(100_000))) for _ in range(5)]
    for _ in reading:
        await asyncio.sleep(0)
        go_on.release()
    events = await asyncio.wait_for(asyncio.gather(*reading), SECONDS)
    assert len(events) == 5 and max(most) == 1
