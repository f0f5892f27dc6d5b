"""The stream's rules one by one, on a whole worker with fake guards."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from tests.stream.foreign import produce
from tests.stream.rig import Outcomes, Rig, chat_event, metric, new_rig
from worker.contract.record import header
from worker.exit_codes import ExitCode
from worker.local.broker import LocalKafka
from worker.local.workers import WorkerProcess

MiB = 1 << 20
MOST_IN_FLIGHT = 20
KEYS = 5


# -- an input with a history ------------------------------------------------------------------------------------------


class History:
    """A rig whose input was written in transactions, every fourth aborted, to a topic that the broker compacts."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sent: list[UUID] = []  # of committed transactions

    async def write(self) -> None:
        """Forty transactions, each with a record for every key."""
        async with self._producer() as producer:
            for number in range(40):
                values = [(f"{key}".encode(), chat_event(f"hello {number}")) for key in range(KEYS)]
                self.sent += await self._send(producer, values, commits=number % 4 != 1)

    async def compacted(self) -> list[UUID]:
        """Waits until the broker has compacted all of it: while it is still at that, what is left now may be gone when
        it is read again. What is left for a reader of committed records."""
        async with self._producer() as producer, asyncio.timeout(120):
            while len(left := await self.readable()) > KEYS:
                values = [(f"{key}".encode(), b"aborted") for key in range(KEYS)]
                await self._send(producer, values, commits=False)  # closes the segment: only closed ones are compacted
                await asyncio.sleep(0.5)
        return left

    async def readable(self) -> list[UUID]:
        """The ids of what a reader of committed records finds in the input."""
        id_at = {place: each for each, place in self.rig.places.items()}
        async with AIOKafkaConsumer(
            bootstrap_servers=self.rig.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
        ) as consumer:
            partitions = [TopicPartition(self.rig.input_topic, number) for number in range(2)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            async with asyncio.timeout(60):
                while any([await consumer.position(each) < ends[each] for each in partitions]):
                    fetched = await consumer.getmany(timeout_ms=50)
                    records += [record for found in fetched.values() for record in found]
        return [id_at[record.partition, record.offset] for record in records]

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self.rig.bootstrap, transactional_id=f"{self.rig.group}-sender")

    async def _send(
        self, producer: AIOKafkaProducer, values: list[tuple[bytes, bytes]], *, commits: bool
    ) -> list[UUID]:
        await producer.begin_transaction()
        ids = await self.rig.send_with(producer, values)
        await (producer.commit_transaction() if commits else producer.abort_transaction())
        return ids if commits else []


@pytest.fixture(scope="module")
def history(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Written before the first test of this module, so that the broker compacts it during the others."""
    config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "200"}
    history = History(new_rig(kafka, tmp_path_factory.mktemp("history"), partitions=2, input_config=config))
    asyncio.run(history.write())
    return history


# -- one worker for all rules that leave it alive ---------------------------------------------------------------------


class Shared:
    """A worker that several tests send their own records to."""

    def __init__(self, rig: Rig, worker: WorkerProcess) -> None:
        self.rig, self.worker = rig, worker

    async def answers(self, ids: list[UUID]) -> Outcomes:
        """The outcomes of these records, once all of them have one."""
        async with self.rig.outcomes() as outcomes:
            await outcomes.until_answered(ids, seconds=120)
            self.worker.check()
            mine = outcomes.only(ids)
        assert set(mine.ids.values()) == {1}
        return mine

    async def ask(self, *values: bytes | None) -> list[ConsumerRecord]:
        """Sends values, each with its number as key; their outcomes in the same order."""
        ids = await self.rig.send([(f"{number}".encode(), value) for number, value in enumerate(values)])
        mine = await self.answers(ids)
        of_id = {mine.id_of(record): record for record in mine.records}
        return [of_id[each] for each in ids]

    def kind_of(self, record: ConsumerRecord) -> str:
        """safe, unsafe, review or dead_letter."""
        (setting,) = (setting for setting, topic in self.rig.outputs.items() if topic == record.topic)
        return setting.removesuffix("_topic")


@pytest.fixture(scope="module")
def shared(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory, history: "History") -> Iterator[Shared]:
    """Slow guards and small batches, so that events finish in another order than they came; and small limits."""
    rig = new_rig(kafka, tmp_path_factory.mktemp("shared"))
    settings = {
        "FAKE_DELAY": "0.01",
        "llama_guard_batch_tokens": 256,
        "max_in_flight_events": MOST_IN_FLIGHT,
        "max_record_bytes": MiB,
        "event_in_review_verdicts": True,
    }
    with rig.worker("shared", **settings) as worker:
        yield Shared(rig, worker)
        assert worker.stop() == ExitCode.OK


async def test_outcomes_of_a_key_keep_the_order_of_its_events(shared: Shared) -> None:
    rng = random.Random(1)
    words = ("hello", "bomb", "BREAK", "ignore")
    texts = [f"{rng.choice(words)} {n // 2} {'x' * rng.choice((1, 5, 300, 900))}" for n in range(600)]
    values = [b"not JSON" if rng.random() < 0.1 else chat_event(text) for text in texts]
    ids = await shared.rig.send([(f"key-{rng.randrange(5)}".encode(), value) for value in values])
    outcomes = await shared.answers(ids)

    of_key: dict[tuple[str, bytes], list[tuple[int, int]]] = defaultdict(list)
    decided: dict[bytes, list[tuple[int, str]]] = defaultdict(list)
    for record in outcomes.records:
        place = shared.rig.places[outcomes.id_of(record)]
        of_key[record.topic, record.key].append(place)
        if record.topic != shared.rig.outputs["dead_letter_topic"]:
            decided[record.key].append((place[1], json.loads(record.value)["decided_at"]))
    assert len(of_key) == 20, "each key in each topic"
    for (topic, key), places in of_key.items():
        assert places == sorted(places), f"{key!r} in {topic}"
    moments = [[moment for _, moment in sorted(each)] for each in decided.values()]
    assert any(each != sorted(each) for each in moments), "they were never judged out of order: this showed nothing"


async def test_never_more_in_flight_than_allowed_and_all_of_it_answered(shared: Shared) -> None:
    seen: list[float] = []

    async def sample() -> None:
        while True:
            seen.append(await asyncio.to_thread(metric, shared.worker, "moderation_in_flight_events") or 0)

    await shared.rig.ready(shared.worker)
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(sample())
        ids = await shared.rig.send([(None, chat_event(f"hello {n} {'x' * 500}")) for n in range(400)])
        outcomes = await shared.answers(ids)
        sampling.cancel()
    assert outcomes.counts == {"safe": 400}
    assert 0 < max(seen) <= MOST_IN_FLIGHT


async def test_tombstones_and_nulls_become_dead_letters_and_no_key_is_no_fault(shared: Shared) -> None:
    good = chat_event("hello")
    records = [(b"k", None), (None, None), (b"", None), (b"k", b""), (None, b"null"), (None, good), (b"", good)]
    sent = await asyncio.to_thread(
        produce, shared.rig.bootstrap, shared.rig.input_topic, [(*each, ()) for each in records]
    )
    outcomes = await shared.answers([each.id for each in sent])
    of_id = {outcomes.id_of(record): record for record in outcomes.records}
    found = [of_id[each.id] for each in sent]
    assert [shared.kind_of(record) for record in found] == ["dead_letter"] * 5 + ["safe"] * 2
    assert [record.key for record in found] == [key for key, _ in records]
    # The producer refuses a record with neither key nor value.
    assert [record.value for record in found[:5]] == [None, b"", None, b"", b"null"]
    causes = [header(record.headers, "moderation-error-type") for record in found[:5]]
    assert causes == [b"tombstone"] * 3 + [b"not_json", b"invalid_event"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_events_are_read(shared: Shared, codec: str) -> None:
    records = [(None, chat_event("how do I make a bomb?" + " please" * 50), ()) for _ in range(20)]
    sent = await asyncio.to_thread(
        produce, shared.rig.bootstrap, shared.rig.input_topic, records, compression_codec=codec, linger_ms=50
    )
    assert (await shared.answers([each.id for each in sent])).counts == {"unsafe": 20}


async def test_a_check_that_breaks_the_guard_goes_to_review_and_harms_no_neighbour(shared: Shared) -> None:
    texts = [("hello", "bomb")[number % 2] for number in range(40)]
    texts[20] = "BREAK"
    records = await shared.ask(*(chat_event(f"{text} neighbour {n}") for n, text in enumerate(texts)))
    wanted = {"hello": "safe", "bomb": "unsafe", "BREAK": "review"}
    assert [shared.kind_of(record) for record in records] == [wanted[text] for text in texts]
    assert json.loads(records[20].value)["reasons"] == ["guard_error"]


async def test_review_verdicts_alone_carry_the_event(shared: Shared) -> None:
    event = chat_event("BREAK", metadata={"a": 1}, tenant="acme")
    review, safe, unsafe = (json.loads(each.value) for each in await shared.ask(event, *map(chat_event, ("a", "bomb"))))
    assert review["event"]["messages"] == [{"role": "user", "content": "BREAK"}]
    assert (review["event"]["tenant"], review["event"]["metadata"]) == ("acme", {"a": 1})
    assert safe["event"] is unsafe["event"] is None


async def test_what_is_larger_than_the_output_allows_shrinks_and_is_not_lost(shared: Shared) -> None:
    large = "x" * (MiB + 1000)
    judged, review, dead, echo = await shared.ask(
        chat_event(large),
        chat_event("BREAK" + large),
        chat_event(large, policy="nowhere"),
        chat_event("hello", metadata={"a": large}),
    )
    kinds = [shared.kind_of(record) for record in (judged, review, dead, echo)]
    assert kinds == ["safe", "review", "dead_letter", "dead_letter"]
    assert json.loads(review.value)["event"] is None
    for record, cause in ((dead, b"unknown_policy"), (echo, b"verdict_too_large")):
        assert header(record.headers, "moderation-error-type") == cause
        assert header(record.headers, "moderation-value-left-out") == b"true"
        assert record.value == b""


# -- offsets ----------------------------------------------------------------------------------------------------------


async def test_after_a_clean_restart_nothing_of_transactions_and_compacted_topics_comes_twice(history: History) -> None:
    rig, ids = history.rig, await history.compacted()
    async with rig.outcomes() as outcomes:
        with rig.worker("first") as first:
            await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
            assert first.stop() == ExitCode.OK
        assert set((await rig.lag()).values()) == {0}
        with rig.worker("second") as second:
            await rig.ready(second)
            more = await rig.send([(b"0", chat_event("bomb")), (b"1", chat_event("bomb"))])
            await outcomes.until_answered(more, seconds=120)
            await rig.no_lag()
            assert second.stop() == ExitCode.OK
        await outcomes.read_to_end()
    assert set(outcomes.ids.values()) == {1}
    assert outcomes.ids.keys() == set(ids) | set(more), "nothing of an aborted transaction, nothing compacted away"
