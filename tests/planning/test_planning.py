"""The planner: a message's cost, the simulated queue, and the plan."""

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from worker.cli.main import app
from worker.planning.cards import DATA_SHEETS, CardUnknown, assumed, measured
from worker.planning.cost import A_TOKEN, Device, Message
from worker.planning.plan import Demand, plan
from worker.planning.simulation import Load, Outcome, Worker, simulate

BATCH, CHECK = 0.03, 0.002  # seconds


def seconds(batch: Sequence[Message]) -> float:
    return BATCH + CHECK * len(batch)


def same(_rng: random.Random) -> Message:
    return Message(30)


def run(rate: float, *, most: int = 50, wait: float = 0.005, stream: float = 0.0, events: int = 5000) -> Outcome:
    """A load of equal messages, through a worker whose batches hold at most so many."""
    worker = Worker(seconds, most * Message(30).check_tokens, wait, stream)
    return simulate(worker, Load(rate, same, events))


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


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert run(200) == run(200)


# -- plan


def demand(rate: float, **fields: float) -> Demand:
    values = {"image_share": 0.0, "p99_seconds": 1.0, **fields}
    return Demand(rate, "chat", values["image_share"], values["p99_seconds"], values.get("cached_share", 0.0))


def h100() -> Worker:
    return Worker(assumed("h100").seconds, 16384, 0.005, 0.05)


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
