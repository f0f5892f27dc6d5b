"""Room in flight: counted in events and in bytes, so that memory is bounded whatever comes."""

import asyncio

import pytest

from worker.contract.record import PlainRecord
from worker.observability import metrics
from worker.stream.in_flight import InFlight
from worker.stream.work import size_of

MiB = 1 << 20


@pytest.mark.parametrize(
    ("key", "value", "beside"), [(None, None, 0), (b"k", b"", 1), (None, b"v" * 100, 100), (b"kk", b"v" * 100, 102)]
)
def test_a_record_counts_as_its_bytes_and_what_python_needs_for_it(
    key: bytes | None, value: bytes | None, beside: int
) -> None:
    empty = size_of(PlainRecord("t", 0, 0))
    assert empty > 0
    assert size_of(PlainRecord("t", 0, 0, key=key, value=value)) == empty + beside


def test_headers_count_as_their_bytes() -> None:
    bare = size_of(PlainRecord("t", 0, 0))
    assert size_of(PlainRecord("t", 0, 0, headers=[("name", b"value"), ("none", None)])) == bare + 13


def test_before_anything_is_known_of_sizes_few_are_asked_for() -> None:
    assert InFlight(10_000, 64 * MiB).room == 16
    assert InFlight(5, 64 * MiB).room == 5


def test_room_is_what_is_left_of_the_events() -> None:
    in_flight = InFlight(100, 64 * MiB)
    for _ in range(30):
        in_flight.took([1000])  # the guess of a record's size comes down
    assert in_flight.room == 70
    in_flight.took([1000] * 69)
    assert in_flight.room == 1
    in_flight.took([1000])
    assert in_flight.room == 0
    in_flight.finished([1000])
    assert in_flight.room == 1


def test_room_is_what_is_left_of_the_bytes_in_records_of_the_size_of_the_last() -> None:
    in_flight = InFlight(10_000, 10 * MiB)
    in_flight.took([MiB, MiB])
    assert in_flight.room == 8
    in_flight.took([MiB] * 8)
    assert in_flight.room == 0


def test_the_guess_rises_at_once_and_falls_slowly() -> None:
    in_flight = InFlight(10_000, 64 * MiB)
    for _ in range(30):
        in_flight.took([1000])
        in_flight.finished([1000])
    many = in_flight.room
    in_flight.took([4 * MiB])
    in_flight.finished([4 * MiB])
    few = in_flight.room
    assert (many, few) == (128, 16)
    in_flight.took([1000])
    in_flight.finished([1000])
    assert in_flight.room == 32


def test_however_small_the_last_ones_were_only_so_many_are_asked_for_at_a_time() -> None:
    """The next ones may all be large: then they are what is in flight beyond the limit."""
    in_flight = InFlight(10_000, 64 * MiB)
    for _ in range(30):
        in_flight.took([100])
    asked = in_flight.room
    in_flight.took([MiB] * asked)
    assert in_flight.bytes < (64 + 150) * MiB
    assert in_flight.room == 0


def test_where_anything_is_left_at_least_one_may_come() -> None:
    in_flight = InFlight(100, 10 * MiB)
    in_flight.took([10 * MiB - 1])
    assert in_flight.room == 1


def test_more_than_there_is_room_for_is_counted_and_leaves_none() -> None:
    in_flight = InFlight(2, MiB)
    in_flight.took([MiB, MiB, MiB])
    assert (in_flight.events, in_flight.bytes, in_flight.room) == (3, 3 * MiB, 0)
    in_flight.finished([MiB])
    in_flight.finished([MiB])
    assert in_flight.room == 0  # the bytes
    in_flight.finished([MiB])
    assert (in_flight.events, in_flight.bytes) == (0, 0)
    assert in_flight.room > 0


def test_taking_nothing_changes_nothing() -> None:
    in_flight = InFlight(100, 16 * MiB)
    before = in_flight.room
    in_flight.took([])
    assert (in_flight.room, in_flight.events) == (before, 0)


@pytest.mark.parametrize("full_of", ["events", "bytes"])
async def test_waiting_ends_when_there_is_room(full_of: str) -> None:
    in_flight = InFlight(1, MiB) if full_of == "events" else InFlight(100, MiB)
    size = 10 if full_of == "events" else MiB
    in_flight.took([size])
    waiting = asyncio.create_task(in_flight.wait_for_room(1000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    in_flight.finished([size])
    async with asyncio.timeout(60):
        await waiting
    assert in_flight.room


async def test_waiting_ends_after_the_time_given_though_there_is_none() -> None:
    in_flight = InFlight(1, MiB)
    in_flight.took([10])
    await in_flight.wait_for_room(0.001)
    assert in_flight.room == 0


async def test_where_there_is_room_nobody_waits() -> None:
    async with asyncio.timeout(60):
        await InFlight(1, MiB).wait_for_room(1000)


def test_the_metrics_tell_what_is_in_flight() -> None:
    in_flight = InFlight(100, MiB)
    in_flight.took([10, 20])
    in_flight.finished([10])
    assert metrics.IN_FLIGHT_EVENTS.value == 1
    assert metrics.IN_FLIGHT_BYTES.value == 20
