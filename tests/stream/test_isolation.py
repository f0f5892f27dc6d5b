"""Isolation: named before it begins, a suspect alone, condemned on the third kill; what is no kill accuses nobody."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers
from worker.observability import metrics
from worker.settings import Settings
from worker.stream.isolation import SUSPECTS_PER_EVENT, Isolation
from worker.stream.journal import traces_of
from worker.stream.suspects import Case


@dataclass(frozen=True)
class InputRecord:
    offset: int
    partition: int = 0
    topic: str = "chat.events"
    timestamp: int = 1_700_000_000_000
    key: bytes | None = None
    value: bytes | None = b"what it says"
    headers: Headers = ()


class Life:
    """One process's isolation, on the journal that the one before left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.isolation = Isolation.of(Settings(journal_dir=directory, max_in_flight_events=10))

    def take(self, *offsets: int) -> list[Case]:
        """A fetch."""
        cases = [self.isolation.arrive(InputRecord(offset)) for offset in offsets]
        self.isolation.admit()
        return cases

    @property
    def named(self) -> set[int]:
        """The offsets that the file names as in flight."""
        (path,) = self.files
        return {trace.name.offset for trace in traces_of(path.read_bytes()) if trace.in_flight}

    @property
    def files(self) -> list[Path]:
        """The journals."""
        return list(self.directory.iterdir())

    def killed(self) -> "Life":
        """The next process after a kill: the kernel closes the file, and nothing else happens."""
        self.isolation._journal.close()
        return Life(self.directory)

    def beside(self) -> "Life":
        """Another worker, on the same directory."""
        return Life(self.directory)

    def ended(self) -> "Life":
        """The next process after a graceful end."""
        self.isolation.end()
        return Life(self.directory)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


async def is_in(life: Life, case: Case) -> bool:
    waiting = asyncio.create_task(life.isolation.admitted(case))
    done, _ = await asyncio.wait({waiting}, timeout=0)
    await asyncio.sleep(0)
    if waiting.done() or done:
        return True
    waiting.cancel()
    return False


async def test_a_fetch_is_named_before_any_of_it_begins_and_forgotten_when_it_is_finished(life: Life) -> None:
    one, two = life.take(1, 2)
    assert life.named == {1, 2}
    await life.isolation.admitted(one)
    await life.isolation.admitted(two)
    life.isolation.leave(one, answered=True)
    life.isolation.leave(two, answered=True)
    assert life.named == set()


async def test_what_is_finished_is_gone_from_the_journal_at_the_latest_when_the_next_comes(life: Life) -> None:
    one, _two = life.take(1, 2)
    life.isolation.leave(one, answered=True)
    life.take(3)
    assert life.named == {2, 3}


async def test_a_waiting_suspect_is_named_alone_when_its_turn_comes(life: Life) -> None:
    life.take(5, 6)
    life = life.killed()
    four, five, six, seven = life.take(4, 5, 6, 7)
    assert life.named == {4}
    waiting = [asyncio.create_task(life.isolation.admitted(case)) for case in (five, six, seven)]
    await asyncio.sleep(0)
    begun = []
    for case, task in zip((four, five, six), waiting, strict=True):
        life.isolation.leave(case, answered=True)
        await task
        begun.append(life.named)
    assert begun == [{5}, {6}, {7}]


async def test_the_log_says_how_many_suspects_are_left_now_and_then_and_at_their_end(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.stream.isolation.time.monotonic", lambda: clock[0])
    life.take(*range(5))
    with capture_logs() as logs:
        life = life.killed()
        for case in life.take(*range(5)):
            clock[0] += 6
            life.isolation.leave(case, answered=True)
    assert [line["records_left"] for line in logs if "records_left" in line] == [3, 1, 0]


async def test_the_third_kill_condemns_and_the_log_names_the_place_and_no_content(life: Life) -> None:
    life.take(1, 2)
    for _ in range(2):
        life = life.killed()
        life.take(1)
    with capture_logs() as logs:
        life = life.killed()
        (case,) = life.take(1)
        with pytest.raises(Unjudgeable) as caught:
            await life.isolation.admitted(case)
    assert (caught.value.error_type, caught.value.stage) == ("killed_the_worker", Stage.JUDGE)
    assert caught.value.message == "the worker was killed 3 times while it judged this record"
    place = {"topic": "chat.events", "partition": 0, "offset": 1, "kills": 3, "log_level": "error"}
    assert [{**line, "event": ""} for line in logs] == [{**place, "event": ""}] * 2
    assert [line["event"] for line in logs] == [
        "the worker was killed while it judged one record",
        "killed_the_worker",
    ]
    life.isolation.leave(case, answered=True)
    (again,) = life.killed().take(1)
    assert again.condemned, "until its offset is committed"


async def test_the_condemned_are_forgotten_when_they_are_committed_past(life: Life) -> None:
    life.take(1)
    for _ in range(2):
        life = life.killed()
        life.take(1)
    life = life.killed()
    life.isolation.committed({TopicPartition("chat.events", 0): 1, TopicPartition("chat.events", 1): 9})
    assert metrics.SUSPECTS._value.get() == 1
    life.isolation.committed({TopicPartition("chat.events", 0): 2})
    assert metrics.SUSPECTS._value.get() == 0
    (case,) = life.killed().take(1)
    assert case.kills == 0


async def test_a_suspect_committed_past_while_it_is_judged_is_forgotten_once(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    (one,) = life.take(1)
    life.isolation.committed({TopicPartition("chat.events", 0): 2})
    life.isolation.leave(one, answered=True)
    life.take(2)
    assert life.named == {2}


async def test_a_graceful_end_is_no_kill_and_suspects_stay_suspects(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    life.take(1, 2)
    life = life.ended()
    (one,) = life.take(1)
    assert one.kills == 1
    assert life.named == {1}


async def test_after_a_graceful_end_began_nothing_is_named(life: Life) -> None:
    one, _two = life.take(1, 2)
    life.isolation.end()
    life.isolation.leave(one, answered=True)
    life.take(3)
    life.isolation.keep()
    life.isolation.end()
    assert life.files == [], "nothing is left to remember"
    assert Life(life.directory).take(2)[0].kills == 0


async def test_what_ends_the_process_by_an_exception_is_a_kill(life: Life) -> None:
    one, two, three = life.take(1, 2, 3)
    life.isolation.leave(one, answered=True)
    life.isolation.keep()
    life.isolation.leave(two, answered=False)
    life.isolation.end()
    assert life.named == {2, 3}
    assert [case.kills for case in Life(life.directory).take(1, 2, 3)] == [0, 1, 1]
    assert not three.gone


async def test_a_suspect_given_back_stays_one_and_the_next_comes_in(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    one, two = life.take(1, 2)
    assert not await is_in(life, two)
    (two,) = life.take(2)
    life.isolation.leave(one, answered=False)
    assert life.named == {2}
    assert await is_in(life, two)
    assert metrics.SUSPECTS._value.get() == 2


async def test_who_is_cancelled_while_it_waits_blocks_nobody(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    one, two, three = life.take(1, 2, 3)
    waiting = [asyncio.create_task(life.isolation.admitted(case)) for case in (two, three)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    life.isolation.leave(one, answered=True)
    await waiting[1]
    assert life.named == {3}
    life.isolation.leave(two, answered=False)
    assert life.named == {3}


async def test_suspects_are_remembered_up_to_a_number(life: Life) -> None:
    for start in range(0, 60, 10):
        life.take(*range(start, start + 10))
        life = life.killed()
    assert metrics.SUSPECTS._value.get() == SUSPECTS_PER_EVENT * 10


async def test_the_oldest_record_is_a_suspect_however_many_younger_ones_there_are(life: Life) -> None:
    for start in range(0, 60, 10):  # of partitions that others have now
        life.take(*range(100 + start, 110 + start))
        life = life.killed()
    life.take(1, 2, 3)
    assert [case.kills for case in life.killed().take(1, 2, 3)] == [1, 1, 1]


async def test_without_a_journal_all_are_judged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    isolation = Isolation.of(Settings(journal_dir=tmp_path / "file"))
    assert metrics.JOURNAL_FAILING._value.get() == 1
    cases = [isolation.arrive(InputRecord(offset)) for offset in (1, 2)]
    isolation.admit()
    async with asyncio.timeout(60):
        await asyncio.gather(*map(isolation.admitted, cases))
    assert [(case.inside, case.kills) for case in cases] == [(True, 0), (True, 0)]
    for case in cases:
        isolation.leave(case, answered=True)
    isolation.end()


def test_a_record_that_wanders_from_worker_to_worker_is_condemned_by_all_of_their_kills(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.take(1, 2)
    first = first.killed()  # in company
    second = first.beside()
    assert second.take(1)[0].kills == 0, "a kill in company accuses nobody elsewhere"
    second.isolation.leave(second.take(2)[0], answered=False)
    first.take(1)
    assert first.beside().take(1)[0].kills == 0, "the first one lives, and has killed nobody with it so far"
    first.isolation._journal.close()  # killed alone, and not started again
    assert first.beside().take(1)[0].kills == 2
    assert first.beside().take(1)[0].kills == 2, "told twice is no more"


async def test_what_is_done_beside_judgement_is_named_and_takes_the_blame_off_the_others(life: Life) -> None:
    (alone,) = life.take(1)
    assert not life.isolation.began_after_a_kill
    with life.isolation.beside(InputRecord(2)):
        assert life.named == {1, 2}
    assert life.named == {1}
    beside = life.isolation.beside(InputRecord(2))
    beside.__enter__()
    again = life.killed()
    assert again.isolation.began_after_a_kill
    assert [case.kills for case in again.take(1, 2, 3)] == [1, 1, 0]
    assert not alone.gone


async def test_who_is_beside_when_the_worker_ends_is_no_suspect(life: Life) -> None:
    with life.isolation.beside(InputRecord(2)):
        after = life.ended()
    assert not after.isolation.began_after_a_kill
    assert after.named == set()


async def test_a_suspect_that_outlives_an_orderly_end_is_no_second_kill(life: Life) -> None:
    life.take(1)
    after = life.killed()
    assert after.isolation.began_after_a_kill
    later = after.ended()  # the record's partition is another worker's meanwhile
    assert not later.isolation.began_after_a_kill
    assert later.take(1)[0].kills == 1, "and still a suspect"
