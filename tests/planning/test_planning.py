"""The planner: a message's cost, the simulated queue, and the plan."""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from tests.planning.virtual_lanes import by_the_worker
from worker.cli.main import app
from worker.planning.cards import DATA_SHEETS, CardUnknown, assumed, measured
from worker.planning.cost import A_TOKEN, Device, Message
from worker.planning.plan import Demand, Plan, bears, plan_of, worker_of
from worker.planning.simulation import Lane, Load, Outcome, Passage, Run, Worker, replay, simulate
from worker.planning.stream_time import lognormal
from worker.planning.stream_time import measured as measured_time
from worker.settings import Settings

BATCH, CHECK = 0.03, 0.002  # seconds


def seconds(batch: Sequence[Message]) -> float:
    return BATCH + CHECK * len(batch)


def same(_rng: random.Random) -> Message:
    return Message(30)


def lane(seconds: Callable[[Sequence[Message]], float] = seconds, most: int = 50) -> Lane:
    """Batches of at most so many checks."""
    return Lane(seconds, most, lambda _message: 1)


def run(rate: float, *, most: int = 50, wait: float = 0.005, stream: float = 0.0, events: int = 5000) -> Outcome:
    """A load of equal messages, through a worker with one guard."""
    worker = Worker([lane(most=most)], wait, lambda _rng: stream)
    return simulate(worker, Load(rate, same, events))


def judged(worker: Worker, *arrived: float) -> list[float]:
    """When events that arrive at these times are judged."""
    passed = Run(worker, [(at, Message(30)) for at in arrived])
    passed.to_the_end()
    return [event.judged for event in passed.events]


# -- cost


def test_a_token_and_a_message_cost_what_the_published_dimensions_say() -> None:
    assert pytest.approx(18.1e9, rel=0.01) == A_TOKEN
    assert Message(30).operations == pytest.approx(1.6e12, rel=0.06)
    assert Message(30, images=1).operations > 10 * Message(30).operations


def test_a_batch_takes_its_start_and_its_operations() -> None:
    device = Device("card", 1e14, 0.004)
    assert device.seconds([]) == 0.004
    assert device.seconds([Message(30)] * 10) == pytest.approx(0.004 + 10 * Message(30).operations / 1e14)


# -- simulation


def test_an_event_alone_waits_for_company_and_then_for_its_batch() -> None:
    found = run(0.1, wait=0.005, stream=0.02, events=200)
    assert found.p50 == pytest.approx(0.005 + BATCH + CHECK + 0.02)
    assert found.batch_events == pytest.approx(1, abs=0.01)


def test_each_batch_waits_until_its_thread_has_a_core() -> None:
    worker = Worker([lane(), lane(lambda _batch: 0.0)], 0.005, lambda _rng: 0.0, handover=0.003)
    assert judged(worker, 1.0) == [pytest.approx(1.0 + 0.005 + BATCH + CHECK + 2 * 0.003)]


def test_under_load_batches_grow_and_all_is_judged() -> None:
    quiet, busy = run(50), run(300)
    assert busy.batch_events > 2 * quiet.batch_events
    assert busy.per_second == pytest.approx(300, rel=0.05)
    assert busy.p99 > quiet.p99


def test_beyond_what_a_worker_bears_throughput_is_its_capacity() -> None:
    capacity = 50 / (BATCH + 50 * CHECK)
    found = run(2 * capacity)
    assert found.per_second == pytest.approx(capacity, rel=0.03)
    assert found.busy == pytest.approx(1, abs=0.01)
    assert found.batch_events == pytest.approx(50, rel=0.02)


def test_what_came_while_the_device_worked_does_not_wait_for_company() -> None:
    assert run(100, wait=10.0).p99 < 10.0 + 2 * (BATCH + 50 * CHECK), "the first one waits, the others do not"
    assert run(400, wait=1.0, events=2000).p50 < 0.5


def test_one_at_a_time_without_waiting_for_company_is_the_queue_of_the_textbook() -> None:
    """M/D/1: an event waits load / (2 (1 - load)) of a service time on the average."""
    service, load = 0.01, 0.7
    worker = Worker([lane(lambda _batch: service, most=1)], 0.0, lambda _rng: 0.0)
    found = simulate(worker, Load(load / service, same, 30_000))
    assert found.mean == pytest.approx(service * (1 + load / (2 * (1 - load))), rel=0.03)
    assert found.busy == pytest.approx(load, rel=0.02)


def test_both_guards_take_turns_on_one_device_and_the_last_one_decides() -> None:
    both = Worker([lane(lambda _batch: 1.0), lane(lambda _batch: 0.25)], 0.1, lambda _rng: 0.0)
    assert judged(both, 0.0) == pytest.approx([0.1 + 1.0 + 0.25])
    # The second one comes while the device works: it goes with the second guard's batch that is in line already, and
    # then has the first guard for itself.
    assert judged(both, 0.0, 0.5) == pytest.approx([1.35, 2.35])
    # The third one comes while the second guard is at work, whose next batch is behind the first guard's.
    assert judged(both, 0.0, 1.09, 1.12) == pytest.approx([1.35, 2.35, 2.6])


def test_the_simulated_lanes_do_what_the_workers_own_do() -> None:
    rng = random.Random(5)
    times = list(itertools.accumulate(rng.expovariate(40) for _ in range(400)))
    worker = Worker([lane(most=20), lane(lambda batch: 0.004 + 0.001 * len(batch))], 0.005, lambda _rng: 0.0)
    passed = Run(worker, [(at, Message(30)) for at in times])
    passed.to_the_end()
    assert [event.judged for event in passed.events] == pytest.approx(asyncio.run(by_the_worker(worker, times)))


def test_what_the_stream_takes_is_drawn_for_each_event() -> None:
    alone = Worker([lane()], 0.0, measured_time([0.1] * 98 + [0.5] * 2))
    found = simulate(alone, Load(0.1, same, 5000))
    assert found.p50 == pytest.approx(BATCH + CHECK + 0.1)
    assert found.p99 == pytest.approx(BATCH + CHECK + 0.5)


def test_what_the_stream_held_up_together_comes_together() -> None:
    worker = Worker([lane()], 0.0, lambda _rng: 0.0)
    held = [Passage(Message(30), 0.01 * n, 1.0, 0.2) for n in range(50)]
    found = replay(worker, held)
    assert (found.batch_events, found.per_second) == (50, pytest.approx(50 / (BATCH + 50 * CHECK)))
    assert (found.p50, found.p99) == (pytest.approx(0.75 + BATCH + 50 * CHECK + 0.2), pytest.approx(1.32))


def test_an_assumed_stream_has_its_median_and_its_percentile() -> None:
    rng, draw = random.Random(0), lognormal(0.02, 0.1)
    drawn = sorted(draw(rng) for _ in range(20_000))
    assert (drawn[10_000], drawn[19_800]) == (pytest.approx(0.02, rel=0.03), pytest.approx(0.1, rel=0.1))
    with pytest.raises(ValueError, match="below its median"):
        lognormal(0.02, 0.01)
    with pytest.raises(ValueError, match="no event was answered"):
        measured_time([])


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert run(200) == run(200)


# -- plan


def demand(rate: float, **fields: float) -> Demand:
    values = {"image_share": 0.0, "p99_seconds": 1.0, **fields}
    return Demand(rate, "chat", values["image_share"], values["p99_seconds"], values.get("cached_share", 0.0))


def h100() -> Worker:
    return worker_of(assumed("h100"), Settings(), lognormal())


def plan(demand: Demand, worker: Worker) -> Plan:
    return plan_of(demand, worker, bears(demand, worker))


def test_a_plan_keeps_the_wanted_p99_and_has_spare_pods() -> None:
    found = plan(demand(5000), h100())
    assert found.pod.p99 <= 1.0
    assert found.pods * found.pod_bears_per_second >= 1.2 * 5000
    assert found.partitions >= 2 * found.pods
    assert found.gpu_hours_a_month == 730 * found.pods


def test_images_strictness_and_the_cache_count() -> None:
    plain = plan(demand(2000), h100()).pods
    assert plan(demand(2000, image_share=0.2), h100()).pods > 2 * plain
    assert plan(demand(2000, p99_seconds=0.2), h100()).pods >= plain
    assert plan(demand(2000, cached_share=0.5), h100()).pods < plain


def test_one_pod_is_never_enough_to_lose_one() -> None:
    assert plan(demand(1), h100()).pods == 2


def test_a_wish_that_no_number_of_pods_grants_is_refused() -> None:
    with pytest.raises(ValueError, match="no worker answers within 10 ms"):
        plan(demand(100, p99_seconds=0.01), h100())


# -- cards


def test_a_measured_card_goes_by_its_measurement(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(
        orjson.dumps({"device": "NVIDIA H100", "matmul_flops_per_second": 6.5e14, "matmul_share": 0.5, "more": 1})
    )
    assert measured(path) == Device("NVIDIA H100, measured", 3.25e14)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"device": "x", "matmul_flops_per_second": "fast"}'])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bench\.json is no output of `bench guards --json`"):
        measured(path)


def test_an_unknown_card_names_the_known_ones() -> None:
    with pytest.raises(CardUnknown, match="h100"):
        assumed("gtx-1080")
    assert all(assumed(card).operations_per_second > 0 for card in DATA_SHEETS)


# -- the command


def test_the_command_says_what_a_stream_takes() -> None:
    said = CliRunner().invoke(app, ["plan", "--rate", "300", "--lengths", "chat", "--card", "h200"])
    assert said.exit_code == 0
    assert said.stdout.startswith("300 messages/s on h200, assumed: ")
    assert "At 100,000 messages/s of the same kind: " in said.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--card", "abacus"], "no card is named 'abacus'"),
        (["--lengths", "epic"], "no lengths are named 'epic'"),
        (["--p99-ms", "20"], "no worker answers within 20 ms"),
        (["--bench", "/nowhere"], "is no output of"),
    ],
)
def test_what_it_cannot_plan_is_said(arguments: list[str], told: str) -> None:
    said = CliRunner().invoke(app, ["plan", *arguments])
    assert said.exit_code == 2
    assert told in " ".join(said.stderr.replace("│", " ").split())
