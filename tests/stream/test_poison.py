"""Records that kill the worker: found out, dead-lettered on their third kill, and no harm to any other record."""

import asyncio
import json
import signal
from pathlib import Path
from uuid import UUID

import pytest

from tests.stream.rig import Gate, Outcomes, Rig, chat_event, metric, new_rig, until
from worker.contract.record import header
from worker.exit_codes import ExitCode
from worker.local.broker import LocalKafka
from worker.local.workers import WorkerProcess
from worker.stream.poison.journal import traces_of

# The group notices a killed member by its missing heartbeats.
QUICK = {"session_timeout_seconds": 6}
# Several batches in the air when the poison's turn comes.
SMALL = {**QUICK, "llama_guard_batch_tokens": 256, "prompt_guard_batch_tokens": 512}
MOST_STARTS = 12


async def _starts_until_answered(rig: Rig, outcomes: Outcomes, ids: list[UUID], **settings: object) -> list[int]:
    """Starts the worker until all is answered; how each start ended but the last."""
    ends: list[int] = []
    for _ in range(MOST_STARTS):
        with rig.worker("worker", **settings) as worker:
            reading = asyncio.create_task(outcomes.until(lambda seen: set(ids) <= seen.ids.keys(), seconds=120))
            dying = asyncio.create_task(asyncio.to_thread(worker.wait, 120))
            await asyncio.wait({reading, dying}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.wait({reading})
            if not dying.done():
                await rig.no_lag()
                assert worker.stop() == ExitCode.OK
                await dying
                await outcomes.read_to_end()
                return ends
            ends.append(dying.result())
    raise AssertionError(f"not answered after {ends}")


def _dead_letters(outcomes: Outcomes) -> dict[UUID, bytes | None]:
    for record in outcomes.of("dead_letter"):
        assert header(record.headers, "moderation-error-type") == b"killed_the_worker"
        assert header(record.headers, "moderation-error-stage") == b"judge"
    return {outcomes.id_of(record): record.value for record in outcomes.of("dead_letter")}


def _log(worker_log: Path, event: str) -> list[dict[str, object]]:
    lines = (json.loads(line) for line in worker_log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def _named_in(rig: Rig) -> set[tuple[int, int]]:
    """What the workers' journals name as in flight: partition and offset."""
    traces = [trace for path in rig.journals.iterdir() for trace in traces_of(path.read_bytes())]
    return {(trace.name.partition, trace.name.offset) for trace in traces if trace.in_flight}


async def _kill(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGKILL)
    assert await asyncio.to_thread(worker.wait) == -signal.SIGKILL


def _gated(gate: Gate, let_through: int) -> dict[str, object]:
    """Settings of a worker that answers the first so many: on one thread, so that a gate holds none of them."""
    return {"FAKE_WAIT_WHILE": gate, "FAKE_WAIT_FROM": let_through, "prepare_threads": 1}


def _at_the_gate(rig: Rig, seen: Outcomes, let_through: int) -> bool:
    """Whether those that a gate lets through are answered, and none of those that a kill would make suspects: a journal
    names also what was finished since the last fetch, and a suspect that was answered before gives no new answer."""
    if len(seen.ids) < let_through:
        return False
    named = _named_in(rig)
    return bool(named) and named.isdisjoint(rig.places[each] for each in seen.ids)


async def test_a_record_that_kills_the_worker_is_a_dead_letter_on_its_third_kill(rig: Rig) -> None:
    poison = chat_event("KILL the worker, please")
    values = [(f"key-{n % 20}".encode(), chat_event(f"hello {n}")) for n in range(300)]
    values.insert(150, (b"key-7", poison))
    ids = await rig.send(values)
    async with rig.outcomes() as outcomes:
        ends = await _starts_until_answered(rig, outcomes, ids, **SMALL)
        assert ends == [-signal.SIGKILL] * 3
        assert outcomes.ids.keys() == set(ids)
        assert _dead_letters(outcomes) == {ids[150]: poison}
        assert {kind for kind, count in outcomes.counts.items() if count} == {"safe", "dead_letter"}
    told = {
        tuple(line[name] for name in ("topic", "partition", "offset", "kills"))
        for line in _log(rig.folder / "worker.log", "killed_the_worker")
    }
    assert told == {(rig.input_topic, *rig.places[ids[150]], 3)}
    assert "please" not in (rig.folder / "worker.log").read_text()


@pytest.mark.chaos
async def test_two_such_records_in_preparation_and_by_losing_the_device(rig: Rig) -> None:
    poisons = {100: chat_event("KILL-IN-PREPARATION"), 101: chat_event("LOSE-THE-DEVICE")}
    ids = await rig.send((f"{n}".encode(), poisons.get(n, chat_event(f"hello {n}"))) for n in range(200))
    async with rig.outcomes() as outcomes:
        ends = await _starts_until_answered(rig, outcomes, ids, **SMALL)
        # At the first kill both may have been in flight: it counts for each.
        assert 5 <= len(ends) <= 6
        assert set(ends) == {-signal.SIGKILL, ExitCode.CRASH}
        assert outcomes.ids.keys() == set(ids)
        assert _dead_letters(outcomes) == {ids[number]: value for number, value in poisons.items()}


@pytest.mark.chaos
async def test_an_operators_kills_condemn_nothing(rig: Rig, gate: Gate) -> None:
    slow = {**SMALL, "FAKE_DELAY": "0.03", "max_in_flight_events": 150}
    # The first one is killed with 150 in flight; so many suspects take the others half a minute alone.
    # On one key: so the records come in the same order after every start, and no kill meets the one before's suspect.
    ids = await rig.send((b"key", chat_event(f"hello {n}")) for n in range(400))
    async with rig.outcomes() as outcomes:
        with rig.worker("worker", **slow, **_gated(gate, 200)) as worker:
            await outcomes.until(lambda seen: _at_the_gate(rig, seen, 200))
            await _kill(worker)
        for _ in range(4):
            await outcomes.read_what_a_killed_one_left()  # that is not the next one's
            answered = len(outcomes.ids)
            with rig.worker("worker", **{**slow, "FAKE_DELAY": "0.2"}) as worker:
                await outcomes.until(lambda seen, before=answered: len(seen.ids) >= before + 10)
                assert metric(worker, "moderation_suspects"), "this kill was to hit suspects"
                await _kill(worker)
        with rig.worker("worker", **slow) as worker:
            await outcomes.until_answered(ids)
            await until(lambda: metric(worker, "moderation_suspects") == 0)
        await outcomes.read_to_end()
    assert outcomes.ids.keys() == set(ids)
    assert {kind for kind, count in outcomes.counts.items() if count} == {"safe"}


async def test_a_stop_is_no_kill_even_one_past_its_deadline(rig: Rig) -> None:
    with rig.worker("worker", drain_seconds=2, **QUICK) as worker:
        await rig.ready(worker)
        ids = await rig.send([(b"key", chat_event("HANG"))])
        await until(lambda: "the fake guard hangs" in worker.log.read_text())
        worker.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == ExitCode.DRAIN_DEADLINE
    async with rig.outcomes() as outcomes:
        with rig.worker("next", FAKE_HARMLESS="HANG", **QUICK) as worker:
            await outcomes.until_answered(ids)
            assert metric(worker, "moderation_judged_alone_total") == 0


@pytest.mark.parametrize("trouble", ["corrupt", "no directory"])
async def test_without_a_usable_journal_the_worker_judges(rig: Rig, trouble: str) -> None:
    if trouble == "no directory":
        rig.journals.write_text("a file")
    else:
        with rig.worker("before", **QUICK) as worker:
            await rig.ready(worker)
            await _kill(worker)
        (journal,) = rig.journals.iterdir()
        journal.write_bytes(journal.read_bytes()[:-5])
    with rig.worker("worker", **QUICK) as worker:
        await _judges(rig, worker)
        assert metric(worker, "moderation_journal_failing") == (trouble == "no directory")
    if trouble == "corrupt":
        assert len(_log(worker.log, "the journal is corrupt and was set aside")) == 1
        assert [path.suffix for path in rig.journals.iterdir()] == [".corrupt"]
    else:
        assert len(_log(worker.log, "no journal: a record that kills the worker will not be isolated")) == 1


async def _judges(rig: Rig, worker: WorkerProcess) -> None:
    ids = await rig.send((None, chat_event(f"hello {n}")) for n in range(20))
    async with rig.outcomes() as outcomes:
        await outcomes.until_answered(ids)
    worker.check()


@pytest.mark.chaos
async def test_partitions_move_while_suspects_are_judged_alone(rig: Rig, gate: Gate) -> None:
    slow = {**SMALL, "FAKE_DELAY": "0.03", "max_in_flight_events": 200}
    ids = await rig.send((f"{n % 20}".encode(), chat_event(f"hello {n}")) for n in range(500))
    async with rig.outcomes() as outcomes:
        with rig.worker("killed", **slow, **_gated(gate, 250)) as worker:
            await outcomes.until(lambda seen: _at_the_gate(rig, seen, 250))
            await _kill(worker)
        await outcomes.read_what_a_killed_one_left()
        before = outcomes.ids.copy()
        # So many suspects take it a minute alone: the third one starts meanwhile.
        stays = {**slow, "session_timeout_seconds": 60}
        with rig.worker("second", **{**stays, "FAKE_DELAY": "0.3"}) as second:
            await outcomes.until(lambda seen: len(seen.ids) >= len(before) + 10)
            with rig.worker("third", **stays) as third:
                await rig.ready(third)
                assert metric(second, "moderation_suspects") > 0, "they were to be there still"
                assert second.stop() == ExitCode.OK
                await outcomes.until_answered(ids, seconds=120)
                await rig.no_lag()
        await outcomes.read_to_end()
    assert outcomes.ids.keys() == set(ids)
    again = {each: times - before[each] for each, times in outcomes.ids.items()}
    assert max(again.values()) == 1, "moves and stops repeat nothing; only the kill did"


@pytest.mark.chaos
async def test_a_record_that_hangs_a_guard_is_a_dead_letter_on_its_third_crash(rig: Rig) -> None:
    values = [(f"key-{n % 20}".encode(), chat_event(f"hello {n}")) for n in range(100)]
    values.insert(50, (b"key-7", chat_event("HANG")))
    ids = await rig.send(values)
    async with rig.outcomes() as outcomes:
        ends = await _starts_until_answered(rig, outcomes, ids, batch_timeout_seconds=2, **SMALL)
        # Another one where the process stood still for so long.
        assert set(ends) == {ExitCode.CRASH} and 3 <= len(ends) <= 5
        assert _dead_letters(outcomes).keys() == {ids[50]}
    assert len(_log(rig.folder / "worker.log", "batch_hangs")) == len(ends)
    assert {line["kills"] for line in _log(rig.folder / "worker.log", "killed_the_worker")} == {3}


@pytest.mark.chaos
@pytest.mark.parametrize("comes_back", [True, False])
async def test_what_is_taken_away_while_a_thread_is_at_it_stays_named_until_that_comes_back(
    kafka: LocalKafka, tmp_path: Path, comes_back: bool
) -> None:
    rig = await asyncio.to_thread(new_rig, kafka, tmp_path, partitions=1)
    gate = Gate(tmp_path / "held")
    quick = {"revoke_drain_seconds": 0.5, "batch_timeout_seconds": 30, **QUICK}
    with rig.worker("first", group_instance_id="b", FAKE_WAIT_WHILE=gate, **quick) as first:
        await rig.ready(first)
        (sent,) = await rig.send([(b"key", chat_event("WAIT-IN-PREPARATION" if comes_back else "HANG"))])
        named = {rig.places[sent]}
        await until(lambda: _named_in(rig) == named)
        # The partition is its own from now on: the group goes by the members' names.
        with rig.worker("second", group_instance_id="a", FAKE_HARMLESS="HANG", **quick) as second:
            await until(lambda: metric(second, "moderation_partitions_assigned") == 1)
            async with rig.outcomes() as outcomes:
                await outcomes.until_answered([sent])
            await rig.no_lag()
            assert _named_in(rig) == named, "by the first one"
            first.check()
            if comes_back:
                gate.open()
                await until(lambda: not _named_in(rig))
                assert first.stop() == ExitCode.OK
            else:
                assert await asyncio.to_thread(first.wait, 120) == ExitCode.CRASH
                assert _named_in(rig) == named
