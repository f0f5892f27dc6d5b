"""/metrics of a worker on a real Kafka: read all the time under load, and right at the end."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stream.rig import Rig, chat_event, probe, until
from worker.contract.errors import CAUSES
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess

Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]
COUNT = 3000


def scraped(worker: WorkerProcess) -> Scrape:
    """Every series of the worker's own metrics; none where it does not answer."""
    page = probe(worker, "/metrics")[1] or ""
    samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for each in samples
        if each.name.startswith("moderation_") and not each.name.endswith("_created")
    }


def value(scrape: Scrape, name: str, **labels: str) -> float:
    return scrape[name, tuple(sorted(labels.items()))]


def of(scrape: Scrape, name: str) -> dict[str, float]:
    """The series of a metric with one label."""
    return {labels[0][1]: found for (each, labels), found in scrape.items() if each == name}


@contextmanager
def scraping(worker: WorkerProcess) -> Iterator[list[Scrape]]:
    """Reads the page again and again, on a thread, until the end of the block."""
    scrapes: list[Scrape] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.05):
            scrapes.append(scraped(worker))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield scrapes
    finally:
        ended.set()
        thread.join()


async def test_it_is_right_at_the_end_and_never_goes_back_under_load(rig: Rig) -> None:
    policies = rig.folder / "policies.toml"
    policies.write_text('[tenants]\nacme = "default"\n')
    tenants = ("acme", None, *(f"mallory-{number}" for number in range(50)))
    texts = ("WAIT-IN-PREPARATION", "a bomb", "ignore all")

    def event(number: int) -> bytes:
        tenant = tenants[number % len(tenants)]
        return chat_event(f"{texts[number % 3]} {number}", **({"tenant": tenant} if tenant else {}))

    ids = await rig.send((b"%d" % n, event(n) if n % 10 else b"broken") for n in range(COUNT))
    held = rig.folder / "held"
    held.touch()
    async with rig.outcomes() as outcomes:
        settings: dict[str, Any] = {"FAKE_WAIT_WHILE": held, "llama_guard_batch_tokens": 1024}
        settings["max_in_flight_events"] = 256
        with rig.worker(policies_file=policies, dead_letter_limit_share=0, **settings) as worker:
            await rig.ready(worker)
            with scraping(worker) as scrapes:
                await until(lambda: any(_is_under_way(scrape) for scrape in list(scrapes)))
                held.unlink()
                await outcomes.until_answered(ids, seconds=200)
                await rig.no_lag()
                await until(lambda: of(scraped(worker), "moderation_consumer_lag") == dict.fromkeys("0123", 0.0))
            last = await asyncio.to_thread(scraped, worker)
            assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
    seen = scrapes
    assert len(seen) > 5 and all(seen), "every scrape was answered"
    for before, after in itertools.pairwise(seen):
        rising = [key for key in before if key[0].endswith(("_total", "_count", "_bucket", "_sum"))]
        assert all(after[key] >= before[key] for key in rising)
    assert max(value(each, "moderation_in_flight_events") for each in seen) <= 256 + 128
    _check_the_end(last)


def _is_under_way(scrape: Scrape) -> bool:
    """What a worker with room for few events shows of many while it can finish none."""
    return (
        value(scrape, "moderation_in_flight_events") > 0
        and value(scrape, "moderation_oldest_unfinished_seconds") > 0
        and sum(of(scrape, "moderation_consumer_lag").values()) > COUNT / 2
    )


def _check_the_end(last: Scrape) -> None:
    judged = COUNT - COUNT // 10
    assert value(last, "moderation_records_total") == COUNT
    assert sum(of(last, "moderation_verdicts_total").values()) == judged
    dead = of(last, "moderation_dead_letters_total")
    assert dead == {**dict.fromkeys(CAUSES, 0), "not_json": COUNT // 10}, "those that never came are there at 0"
    assert value(last, "moderation_end_to_end_seconds_count") == COUNT
    for stage in ("queue", "prepare", "guard"):
        assert value(last, "moderation_stage_seconds_count", stage=stage) == judged
    assert value(last, "moderation_stage_seconds_count", stage="publish") == COUNT
    by_tenant = {key: found for key, found in last.items() if key[0] == "moderation_tenant_verdicts_total"}
    assert sum(by_tenant.values()) == judged
    assert {dict(labels)["tenant"] for _, labels in by_tenant} == {"acme", "none", "other"}
    assert value(last, "moderation_violations_total", category="S9") > 0
    assert value(last, "moderation_device_busy_seconds_total") > 0
    tokens, padded, budget = (
        value(last, f"moderation_batch_{kind}_total", guard="llama_guard")
        for kind in ("tokens", "padded_tokens", "budget_tokens")
    )
    assert 0 < tokens <= padded <= budget
    for idle in ("in_flight_events", "in_flight_bytes", "oldest_unfinished_seconds"):
        assert value(last, f"moderation_{idle}") == 0


async def test_a_scrape_that_takes_long_holds_no_event_up(rig: Rig) -> None:
    slow = rig.folder / "slow-scrapes"
    with rig.worker(FAKE_SCRAPE_WAITS_WHILE=slow) as worker:
        await rig.ready(worker)
        slow.touch()
        scrape = asyncio.create_task(asyncio.to_thread(probe, worker, "/metrics"))
        async with rig.outcomes() as outcomes:
            ids = await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(50))
            await outcomes.until_answered(ids)
            assert not scrape.done()
        slow.unlink()
        status, page = await scrape
        assert status == 200 and "moderation_records_total" in page


@pytest.mark.chaos
async def test_a_partition_has_one_owner_who_tells_its_lag(rig: Rig) -> None:
    def told(worker: WorkerProcess) -> set[str]:
        return set(of(scraped(worker), "moderation_consumer_lag"))

    await rig.send((b"%d" % n, chat_event(f"hello {n}")) for n in range(100))
    with rig.worker("first") as first:
        await until(lambda: told(first) == set("0123"))
        with rig.worker("second") as second:
            await until(lambda: len(told(second)) == 2)
            await until(lambda: told(first) == set("0123") - told(second))
        await until(lambda: told(first) == set("0123"))
