"""The outbox: batches in order, one on its way at a time, and nothing overtakes what failed."""

import asyncio
from collections.abc import Sequence

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.works import work
from worker.contract.record import Headers
from worker.stream.outbox import Batch, Outbox
from worker.stream.publisher import partition_of
from worker.stream.work import Work

MOST = 3  # records a batch


class FakeBatch:
    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.closed = False

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers) -> object:
        if len(self.values) == MOST:
            return None
        self.values.append(value)
        return self

    def close(self) -> None:
        self.closed = True


class FakeCarrier:
    def __init__(self) -> None:
        self.leaving: list[Outbox] = []
        self.on_their_way: list[tuple[FakeBatch, asyncio.Future[None]]] = []

    def create_batch(self) -> Batch:
        return FakeBatch()

    def leave_soon(self, outbox: Outbox) -> None:
        self.leaving.append(outbox)

    def carry(self, batch: Batch, topic: str, partition: int) -> "asyncio.Future[None]":
        assert isinstance(batch, FakeBatch) and batch.closed and (topic, partition) == ("out", 3)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_their_way.append((batch, future))
        return future

    def let_go(self) -> list[bytes | None]:
        """The next batch leaves; what it holds."""
        (outbox,) = self.leaving
        self.leaving.clear()
        outbox.send_off()
        return self.on_their_way[-1][0].values

    async def arrives(self, error: Exception | None = None) -> None:
        """The batch is confirmed, or fails."""
        _, future = self.on_their_way[-1]
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        await asyncio.sleep(0)


class Desk:
    """An outbox, and what it has told."""

    def __init__(self) -> None:
        self.carrier = FakeCarrier()
        self.outbox = Outbox(self.carrier, "out", 3, self._settled)
        self.told: list[tuple[int, BaseException | None]] = []

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.outbox.put(None, b"%d" % number, [], work(number))

    def _settled(self, works: Sequence[Work], error: BaseException | None) -> None:
        self.told += [(work.offset, error) for work in works]


async def test_what_comes_together_leaves_together_and_is_settled_when_it_is_confirmed() -> None:
    desk = Desk()
    desk.put(1, 2)
    assert desk.carrier.let_go() == [b"1", b"2"]
    assert desk.told == []
    await desk.carrier.arrives()
    assert desk.told == [(1, None), (2, None)]
    assert desk.carrier.leaving == [], "nothing is left to send"


async def test_what_comes_meanwhile_waits_for_the_batch_before() -> None:
    desk = Desk()
    desk.put(1)
    desk.carrier.let_go()
    desk.put(2, 3)
    assert desk.carrier.leaving == []
    await desk.carrier.arrives()
    assert desk.carrier.let_go() == [b"2", b"3"]


async def test_more_than_a_batch_holds_leaves_in_order() -> None:
    desk = Desk()
    desk.put(*range(7))
    sent = []
    while desk.carrier.leaving:
        sent.append(desk.carrier.let_go())
        await desk.carrier.arrives()
    assert sent == [[b"0", b"1", b"2"], [b"3", b"4", b"5"], [b"6"]]
    assert [number for number, _ in desk.told] == list(range(7))


async def test_after_a_failure_nothing_leaves() -> None:
    desk, lost = Desk(), ConnectionError("gone")
    desk.put(1)
    desk.carrier.let_go()
    desk.put(2)
    await desk.carrier.arrives(lost)
    desk.put(3)
    assert desk.told == [(1, lost), (2, lost), (3, lost)]
    assert desk.carrier.leaving == []


@given(key=st.binary(max_size=600), count=st.integers(1, 50))
def test_a_key_goes_to_the_partition_that_kafkas_clients_choose(key: bytes, count: int) -> None:
    partitions = list(range(count))
    assert partition_of(key, count) == DefaultPartitioner()(key, partitions, partitions)


def test_records_without_a_key_go_anywhere() -> None:
    assert {partition_of(None, 3) for _ in range(200)} == {0, 1, 2}
