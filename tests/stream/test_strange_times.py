"""Records with strange timestamps: they are judged as any other, and their ids follow from what the broker has."""

import asyncio
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stream import raw_batches
from tests.stream.raw_batches import batch_of, send_batch
from tests.stream.rig import chat_event, new_rig, probe
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.stored_letter import StoredLetter
from worker.contract.verdict import verdict_id_of
from worker.local.broker import LocalKafka
from worker.stream.kafka.raw_records import RawRecord
from worker.stream.poison.journal import Journal, open_journal
from worker.stream.poison.suspects import Name

MOST = (1 << 63) - 1
# None, 1970, 2100, past the year 9999, the last one.
TIMES = (-1, 0, 1, 4_102_444_800_000, 253_402_300_800_000, MOST)


@pytest.mark.parametrize("time", TIMES)
def test_a_dead_letter_tells_any_time_as_it_is(time: int) -> None:
    record = RawRecord("t", 0, 7, time, b"k", b"v", [], readable=True)
    letter = DeadLetter.of(record, Unjudgeable("not_json", "no JSON", Stage.READ))
    stored = StoredLetter.of(RawRecord("dead", 0, 0, 0, b"k", b"v", letter.headers, readable=True))
    assert stored is not None and stored.source_timestamp == time


@pytest.mark.parametrize("time", TIMES)
def test_the_journal_keeps_any_time(time: int, tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, "g", "t", 4)
    journal.add(Name(0, 7, time), 1, True)
    journal.write()
    journal.close()
    again, found = open_journal(tmp_path, "g", "t", 4)
    assert isinstance(again, Journal)
    again.close()
    assert [trace.name for trace in found] == [Name(0, 7, time)]


def test_ids_differ_by_time() -> None:
    assert len({verdict_id_of("t", 0, 0, time) for time in TIMES}) == len(TIMES)


async def test_they_are_judged_and_latency_does_not_follow_from_them(kafka: LocalKafka, tmp_path: Path) -> None:
    any_time = {"message.timestamp.after.max.ms": str(MOST), "retention.ms": "-1"}
    rig = await asyncio.to_thread(new_rig, kafka, tmp_path, partitions=1, input_config=any_time)
    ids = []
    for time in TIMES:
        records: list[raw_batches.RawRecord] = [
            (b"k", value, [], time) for value in (chat_event(f"hello {time}"), b"not JSON")
        ]
        offset = await send_batch(rig.bootstrap, rig.input_topic, 0, batch_of(records))
        ids += [verdict_id_of(rig.input_topic, 0, offset + n, time) for n in range(2)]
    with rig.worker("any time") as worker:
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered(ids)
            await rig.no_lag()
        _, page = await asyncio.to_thread(probe, worker, "/metrics")
        worker.check()
    _check_times(page)
    assert outcomes.ids.keys() == set(ids) and set(outcomes.ids.values()) == {1}
    assert outcomes.counts == {"safe": len(TIMES), "dead_letter": len(TIMES)}
    for record in outcomes.of("safe"):
        verdict = orjson.loads(record.value)
        assert 0 <= verdict["latency_ms"] < 120_000, "it is a time of ours alone"
        assert verdict["decided_at"].startswith("20")


def _check_times(page: str) -> None:
    """A producer's clock that is years ahead or behind makes no time of ours strange."""
    families = {family.name: family.samples for family in text_string_to_metric_families(page)}
    ours = [name for name in families if name.startswith("moderation_") and name.endswith("_seconds")]
    assert {f"moderation_{each}_seconds" for each in ("end_to_end", "stage", "oldest_unfinished")} <= {*ours}
    bound = 120 * 2 * len(TIMES)  # all of them together
    for name in ours:
        sums = [each for each in families[name] if not each.name.endswith(("_created", "_bucket", "_count"))]
        assert all(0 <= each.value < bound for each in sums if "timestamp" not in each.name), sums
