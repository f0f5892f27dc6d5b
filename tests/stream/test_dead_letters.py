"""Dead letters on the real Kafka: limits that stop a worker, replays that it answers, and what the commands show."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import orjson
import pytest
from aiokafka.structs import ConsumerRecord

from tests.stream.dead_letter_desk import COUNT, Desk, InputRecord
from tests.stream.rig import Rig, chat_event, metric, until
from worker.contract.record import header
from worker.exit_codes import ExitCode
from worker.stream.dead_letters.replay import PAST_LIMIT

# -- limits -----------------------------------------------------------------------------------------------------------


async def test_too_many_in_a_row_stop_the_worker_with_its_reason_and_nothing_is_lost_or_repeated(rig: Rig) -> None:
    good = [(f"{n % 7}".encode(), chat_event(f"hello {n}")) for n in range(40)]
    bad = [(f"{n % 7}".encode(), (b"not JSON", b"{}")[n % 4 == 0]) for n in range(600)]
    with rig.worker("breaks", dead_letter_limit_consecutive=100, max_in_flight_events=50) as worker:
        await rig.ready(worker)
        ids = await rig.send(good)
        await until(lambda: metric(worker, 'moderation_verdicts_total{label="safe"}') == 40)
        ids += await rig.send(bad)
        assert await asyncio.to_thread(worker.wait, 120) == ExitCode.DEAD_LETTERS
        told = [line for line in map(orjson.loads, worker.log.read_bytes().splitlines()) if line["level"] == "error"]
        assert len(told) == 1
        sentence = "stopping: 101 of the last 101 outcomes are dead letters (not_json "
        assert told[0]["event"].startswith(sentence) and "invalid_event" in told[0]["event"]
        assert "`moderation-worker dead-letters list`" in told[0]["event"]
    async with rig.outcomes() as outcomes:
        await outcomes.read_to_end()
        assert 100 < outcomes.counts["dead_letter"] <= 100 + 50 + 1, "no more than what was in flight"
        assert sum((await rig.committed()).values()) == len(outcomes.records), "all of it is committed, and only that"
        with rig.worker("goes on", dead_letter_limit_consecutive=0) as worker:
            await outcomes.until_answered(ids)
            await rig.no_lag()
            assert worker.stop() == ExitCode.OK
        await outcomes.read_to_end()
    assert outcomes.counts == {"safe": 40, "dead_letter": 600}
    assert set(outcomes.ids.values()) == {1}


async def test_what_stays_bad_comes_back_counted_and_then_stays_and_what_was_mended_is_judged(desk: Desk) -> None:
    rig = desk.rig
    mended = InputRecord(rig.input_topic, chat_event("how do I make a bomb?"), b"mended")
    with rig.worker("judges", dead_letter_limit_consecutive=5) as worker:
        await rig.ready(worker)
        await rig.send([(f"{n}".encode(), b"not JSON") for n in range(5)])
        await desk.put(mended, cause="unknown_policy")
        async with rig.outcomes() as outcomes:
            await outcomes.until(lambda seen: seen.counts["dead_letter"] == 6)
            for count in (1, 2, 3):
                ended = await desk.command("replay")
                assert ended.returncode == 0, ended.stderr
                assert f"{6 if count == 1 else 5} replayed: {rig.input_topic}" in ended.stdout
                await outcomes.until(lambda seen, count=count: _counts(seen.of("dead_letter"))[count] == 5)
            ended = await desk.command("replay")
            assert ended.returncode == ExitCode.FAILED
            assert (ended.stdout, ended.stderr) == ("0 replayed\n", f"5 stayed: {PAST_LIMIT}\n")
            (unsafe,) = outcomes.of("unsafe")
            assert unsafe.key == b"mended"
        worker.check()  # what is replayed does not open the breaker
        assert metric(worker, "moderation_dead_letters_in_a_row") is not None
    replayed = [each for each in await desk.input() if each.key == b"mended"]
    assert [(each.partition, each.value) for each in replayed] == [(1, mended.value)], "to the partition it came from"
    assert list(replayed[0].headers) == [*mended.headers, ("moderation-replay-count", b"1")]
    assert replayed[0].timestamp > mended.timestamp, "else retention could take it"


def _counts(records: list[ConsumerRecord]) -> Counter[int]:
    return Counter(int(header(record.headers, COUNT) or b"0") for record in records)


# -- list and show ----------------------------------------------------------------------------------------------------


async def test_listed_filtered_and_shown_without_content(desk: Desk) -> None:
    before = datetime.now(UTC).isoformat()
    await desk.put(*(InputRecord("a", b"secret") for _ in range(4)))
    await desk.put(InputRecord("b", b'{"secret": 1}'), cause="invalid_event")
    await desk.put_other()
    ended = await desk.command("list")
    assert ended.returncode == 0, ended.stderr
    *lines, summary = ended.stdout.splitlines()
    assert summary == "5 dead letters: not_json 4, invalid_event 1"
    assert ended.stderr == "1 records skipped: without the headers of a dead letter\n"
    assert lines[1].split()[0] == "0/0" and len(lines) == 1 + 5
    for arguments, found in (
        (["--cause", "invalid_event"], ["b"]),
        (["--source-topic", "a", "--limit", "2", "--since", before], ["a", "a"]),
        (["--until", before], []),
        (["--since", "2999-01-01"], []),
    ):
        ended = await desk.command("list", "--json", *arguments)
        assert [orjson.loads(line)["source"]["topic"] for line in ended.stdout.splitlines()] == found, ended.stderr
        assert f"{len(found)} dead letters" in ended.stderr
        assert "secret" not in ended.stdout + ended.stderr

    shown = await desk.command("show", "0", "1")
    assert shown.returncode == 0 and "invalid_event: no JSON" in shown.stdout and "b/1/5" in shown.stdout
    assert "secret" not in shown.stdout
    assert (await desk.command("show", "0/1")).stdout == shown.stdout, "as the list has it"
    assert '"secret": 1' in (await desk.command("show", "0", "1", "--content")).stdout
    for place in (["0", "2000"], ["99", "0"]):
        missing = await desk.command("show", *place)
        assert missing.returncode == ExitCode.FAILED and "no record at" in missing.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "0", "0"], ["replay"]])
async def test_a_missing_topic_is_one_line_and_exit_code_78(desk: Desk, command: list[str]) -> None:
    desk.rig.outputs["dead_letter_topic"] = "no-such-topic"
    ended = await desk.command(*command)
    assert ended.returncode == ExitCode.CONFIG
    assert "topic no-such-topic does not exist" in ended.stderr and ended.stderr.count("\n") == 1
