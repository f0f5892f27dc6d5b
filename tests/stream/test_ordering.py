"""The setting `ordering`: whether a slow event holds back a quick later one of its key."""

import asyncio
from typing import Literal

import pytest

from tests.stream.rig import Rig, chat_event, metric, until

BATCHES = 'moderation_batches_total{guard="prompt_guard"}'


@pytest.mark.parametrize("ordering", ["key", "none"])
async def test_a_slow_event_holds_back_a_quick_later_one_of_its_key(rig: Rig, ordering: Literal["key", "none"]) -> None:
    gate = rig.folder / "held"
    gate.touch()
    async with rig.outcomes() as outcomes:
        with rig.worker("worker", ordering=ordering, FAKE_WAIT_WHILE=gate) as worker:
            await rig.ready(worker)
            ids = await rig.send([(b"k", chat_event("WAIT-IN-PREPARATION")), (b"k", chat_event("quick"))])
            await until(lambda: metric(worker, BATCHES) == 1)
            if ordering == "none":
                await outcomes.until_answered(ids[1:])
            else:
                assert await asyncio.to_thread(metric, worker, 'moderation_verdicts_total{label="safe"}') in (None, 0)
                # One of another key that comes after both is answered: the quick one had its chance.
                await outcomes.until_answered(await rig.send([(b"other", chat_event("meanwhile"))]))
                assert not outcomes.ids.keys() & set(ids)
            gate.unlink()
            await outcomes.until_answered(ids)
    places = {outcomes.id_of(record): (record.partition, record.offset) for record in outcomes.records}
    (partition, first), (same, second) = (places[each] for each in ids)
    assert partition == same
    assert (first < second) == (ordering == "key")
