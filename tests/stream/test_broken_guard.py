"""A guard that is down, on a real Kafka: every event is answered, none as safe, or the worker stops and nothing is
lost."""

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from tests.stream.rig import Outcomes, Rig, chat_event, metric, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess

STATE = 'moderation_guard_breaker_state{guard="llama_guard"}'
TEXTS = ("hello", "a bomb", "ignore all")


def told(worker: WorkerProcess, event: str) -> int:
    """How often the worker said so."""
    lines = (orjson.loads(line) for line in worker.log.read_text().splitlines())
    return sum(str(line["event"]).startswith(event) for line in lines)


def labels(outcomes: Outcomes, kind: str) -> Counter[tuple[str, ...]]:
    """The reasons of the verdicts of one kind, and how often."""
    return Counter(tuple(orjson.loads(record.value)["reasons"]) for record in outcomes.of(kind))


async def test_a_guard_that_breaks_for_a_while_costs_reviews_and_nothing_else(rig: Rig) -> None:
    broken = rig.folder / "broken"
    async with rig.outcomes() as outcomes:
        with rig.worker(
            "worker", FAKE_BROKEN_WHILE=broken, guard_breaker_failures=10, llama_guard_batch_tokens=256
        ) as worker:
            await rig.ready(worker)
            ids = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} {n}")) for n in range(300))
            await outcomes.until_answered(ids)
            assert outcomes.counts == {"safe": 100, "unsafe": 200}

            broken.touch()
            down = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} down {n}")) for n in range(600))
            await outcomes.until_answered(down)
            seen = outcomes.only(down)
            assert seen.counts == {"review": 400, "unsafe": 200}, "the healthy guard's findings still count"
            reasons = labels(seen, "review") + labels(seen, "unsafe")
            assert {reason for each in reasons for reason in each} <= {
                "prompt_guard",
                "guard_error",
                "guard_unavailable",
            }
            assert sum(count for each, count in reasons.items() if "guard_unavailable" in each) > 300
            assert await asyncio.to_thread(metric, worker, STATE) == 2

            broken.unlink()
            while await asyncio.to_thread(metric, worker, STATE) != 0:  # an event tries the guard, after a wait
                trial = await rig.send([(None, chat_event(f"hello again {len(ids)}"))])
                await outcomes.until_answered(trial)
                ids += trial
            back = await rig.send((b"%d" % n, chat_event(f"{TEXTS[n % 3]} back {n}")) for n in range(300))
            await outcomes.until_answered(back)
            assert outcomes.only(back).counts == {"safe": 100, "unsafe": 200}
            await rig.no_lag()
            assert worker.stop() == ExitCode.OK
    assert outcomes.ids.keys() == {*ids, *down, *back}
    assert set(outcomes.ids.values()) == {1}
    assert (told(worker, "guard_breaker_open"), told(worker, "guard_breaker_closed")) == (1, 1)


@pytest.mark.chaos
async def test_a_worker_that_is_to_stop_for_it_leaves_the_rest_in_kafka(rig: Rig) -> None:
    broken = rig.folder / "broken"
    broken.touch()
    ids = await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(3000))
    settings: dict[str, Any] = {"guard_breaker_failures": 20, "guard_breaker_action": "stop", "FAKE_DELAY": 0.02}
    async with rig.outcomes() as outcomes:
        with rig.worker("first", FAKE_BROKEN_WHILE=broken, llama_guard_batch_tokens=256, **settings) as first:
            await until(lambda: told(first, "stopping: llama_guard fails check after check; nothing is lost") == 1)
            assert await asyncio.to_thread(first.wait, 120) == ExitCode.GUARD_DOWN
        await outcomes.read_to_end()
        assert 20 <= outcomes.counts["review"] < 3000
        assert outcomes.counts.keys() == {"review"}
        with rig.worker("second") as second:
            await outcomes.until_answered(ids, seconds=120)
            await rig.no_lag()
            assert second.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}, "a stop in order repeats nothing"
    assert outcomes.counts["safe"] == 3000 - outcomes.counts["review"]
    assert told(first, "guard_breaker_open") == 1
