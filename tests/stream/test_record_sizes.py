"""Records near the limits: each ends as one outcome, or the worker says which topic is too small. Never a loop.

What shrinks when it is larger than MODERATION_MAX_RECORD_BYTES is tested in test_rules.py.
"""

import asyncio
import random

import orjson
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.stream.foreign import produce
from tests.stream.rig import LARGEST, Rig, chat_event, until
from worker.contract.record import header
from worker.contract.stored_letter import StoredLetter
from worker.exit_codes import ExitCode

KiB = 1 << 10


async def _limit(rig: Rig, topics: list[str], size: int) -> None:
    """Sets the topics' max.message.bytes."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    for future in admin.incremental_alter_configs(resources).values():
        await asyncio.to_thread(future.result, 30)
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]

    def known() -> bool:  # by the broker itself, a moment after it has answered
        told = [future.result(30) for future in admin.describe_configs(asked).values()]
        return all(each["max.message.bytes"].value == str(size) for each in told)

    await until(known)


def _noise(size: int, seed: int = 1) -> str:
    """Text that does not compress to nothing, and holds no word for the fake guards."""
    return random.Random(seed).randbytes(size // 2).hex()


async def test_records_as_large_as_their_topic_takes(rig: Rig) -> None:
    """A verdict echoes no content, so that the largest event fits; a dead letter loses its value where it would not."""
    near = LARGEST - 2 * KiB
    dead = b"not JSON " + _noise(near - 9).encode()
    records = [
        (b"k", chat_event(_noise(near - 200)), ()),
        (b"k", dead, ()),
        (b"k", dead[: -200 * KiB], [("large", b"h" * 100 * KiB)]),
        (b"x" * 300 * KiB, b"not JSON", ()),
    ]
    with rig.worker("large", max_record_bytes=LARGEST - KiB) as worker:
        sent = await asyncio.to_thread(produce, rig.bootstrap, rig.input_topic, records)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered((each.id for each in sent), seconds=120)
            await rig.no_lag()
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
    of_id = {outcomes.id_of(record): record for record in outcomes.records}
    judged, *letters = (of_id[each.id] for each in sent)
    assert judged.topic == rig.outputs["safe_topic"]
    for record, (key, value, _) in zip(letters, records[1:], strict=True):
        letter = StoredLetter.of(record)
        assert letter is not None and letter.told.error_type == "not_json"
        assert (record.key, record.value) == (key, value if letter.has_original else b"")
    assert header(letters[1].headers, "large") == b"h" * 100 * KiB


async def test_many_outcomes_for_topics_that_take_small_batches(rig: Rig) -> None:
    """The broker's limit is for a batch of records: a busy worker must not fill batches beyond it."""
    limit = 20 * KiB
    await _limit(rig, list(rig.outputs.values()), limit)
    values = [chat_event(f"hello {n}", metadata={"noise": _noise(2 * KiB, n)}) for n in range(300)]
    ids = await rig.send((b"k", value) for value in values)
    with rig.worker("small batches", max_record_bytes=limit - KiB) as worker:
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
            await rig.no_lag()
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK
    assert outcomes.counts == {"safe": 300}


async def test_a_topic_that_is_made_smaller_stops_the_worker_and_the_next_one_names_it(rig: Rig) -> None:
    """The broker refuses what the settings allow. Nothing is committed past it, and the start afterwards says why."""
    large = chat_event("hello", metadata={"noise": _noise(60 * KiB)})
    safe = rig.outputs["safe_topic"]
    settings = {"max_record_bytes": 100 * KiB}
    with rig.worker("runs", **settings) as worker:
        await rig.ready(worker)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(await rig.send([(b"k", large)]))
        await rig.no_lag()
        committed = await rig.committed()
        await _limit(rig, [safe], 10 * KiB)
        ids = await rig.send([(b"k", large)])
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CRASH
    assert await rig.committed() == committed, "what was refused is not committed"
    assert "MessageSizeTooLargeError" in worker.log.read_text()
    with rig.worker("refuses", **settings) as worker:
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.CONFIG
    (line,) = (line for line in map(orjson.loads, worker.log.read_bytes().splitlines()) if line["level"] == "error")
    assert f"topic {safe} takes records of at most {10 * KiB} bytes" in line["event"]
    assert "MODERATION_MAX_RECORD_BYTES" in line["event"]
    await _limit(rig, [safe], 200 * KiB)
    with rig.worker("goes on", **settings):
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
