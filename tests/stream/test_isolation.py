"""Isolation: named before it begins, a suspect alone, condemned on the third kill; what is no kill accuses nobody."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from tests.stream.works import work
from worker.contract.errors import Stage, Unjudgeable
from worker.observability import metrics
from worker.settings import Settings
from worker.stream.poison.isolation import SUSPECTS_PER_EVENT, Isolation
from worker.stream.poison.journal import traces_of
from worker.stream.work import Work


class Life:
    """One process's isolation, on the journal that the one before left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.isolation = Isolation.of(Settings(journal_dir=directory, max_in_flight_events=10))
        self.begun: list[int] = []  # offsets that were let in

    def take(self, *offsets: int) -> list[Work]:
        """A fetch."""
        works = [work(offset) for offset in offsets]
        self._begin(self.isolation.take(works))
        return works

    def leave(self, *works: Work, answered: bool = True) -> None:
        self._begin(self.isolation.leave(works, answered=answered))

    def _begin(self, works: Sequence[Work]) -> None:
        self.begun += [each.offset for each in works]

    def kills(self, *offsets: int) -> list[int]:
        """Of records that are fetched now."""
        return [0 if each.case is None else each.case.kills for each in self.take(*offsets)]

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


def test_a_fetch_is_named_before_any_of_it_begins_and_forgotten_when_it_is_finished(life: Life) -> None:
    one, two = life.take(1, 2)
    assert life.named == {1, 2}
    assert life.begun == [1, 2]
    life.leave(one, two)
    assert life.named == set()


def test_what_is_finished_is_gone_from_the_journal_at_the_latest_when_the_next_comes(life: Life) -> None:
    one, _two = life.take(1, 2)
    life.leave(one)
    life.take(3)
    assert life.named == {2, 3}


def test_a_waiting_suspect_is_named_alone_when_its_turn_comes(life: Life) -> None:
    life.take(5, 6)
    life = life.killed()
    four, five, six, seven = life.take(4, 5, 6, 7)
    assert (life.named, life.begun) == ({4}, [4])
    named = []
    for each in (four, five, six):
        life.leave(each)
        named.append(life.named)
    assert named == [{5}, {6}, {7}]
    assert life.begun == [4, 5, 6, 7]
    life.leave(seven)


def test_the_log_says_how_many_suspects_are_left_now_and_then_and_at_their_end(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.stream.poison.isolation.time.monotonic", lambda: clock[0])
    life.take(*range(5))
    with capture_logs() as logs:
        life = life.killed()
        for each in life.take(*range(5)):
            clock[0] += 6
            life.leave(each)
    assert [line["records_left"] for line in logs if "records_left" in line] == [3, 1, 0]


def test_the_third_kill_condemns_and_the_log_names_the_place_and_no_content(life: Life) -> None:
    life.take(1, 2)
    for _ in range(2):
        life = life.killed()
        life.take(1)
    with capture_logs() as logs:
        life = life.killed()
        (condemned,) = life.take(1)
    assert life.begun == [1], "it waits for nobody"
    assert isinstance(condemned.error, Unjudgeable)
    assert (condemned.error.error_type, condemned.error.stage) == ("killed_the_worker", Stage.JUDGE)
    assert condemned.error.message == "the worker was killed 3 times while it judged this record"
    place = {"topic": "chat.events", "partition": 0, "offset": 1, "kills": 3, "log_level": "error"}
    assert [{**line, "event": ""} for line in logs] == [{**place, "event": ""}] * 2
    assert [line["event"] for line in logs] == [
        "the worker was killed while it judged one record",
        "killed_the_worker",
    ]
    life.leave(condemned)
    assert life.killed().kills(1) == [3], "until its offset is committed"


def test_the_condemned_are_forgotten_when_they_are_committed_past(life: Life) -> None:
    life.take(1)
    for _ in range(2):
        life = life.killed()
        life.take(1)
    life = life.killed()
    life.isolation.committed({TopicPartition("chat.events", 0): 1, TopicPartition("chat.events", 1): 9})
    assert metrics.SUSPECTS._value.get() == 1
    life.isolation.committed({TopicPartition("chat.events", 0): 2})
    assert metrics.SUSPECTS._value.get() == 0
    assert life.killed().kills(1) == [0]


def test_a_suspect_committed_past_while_it_is_judged_is_forgotten_once(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    (one,) = life.take(1)
    life.isolation.committed({TopicPartition("chat.events", 0): 2})
    life.leave(one)
    life.take(2)
    assert life.named == {2}


def test_a_graceful_end_is_no_kill_and_suspects_stay_suspects(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    life.take(1, 2)
    life = life.ended()
    assert life.kills(1) == [1]
    assert life.named == {1}


def test_after_a_graceful_end_began_nothing_is_named(life: Life) -> None:
    one, _two = life.take(1, 2)
    life.isolation.end()
    life.leave(one)
    life.take(3)
    life.isolation.keep()
    life.isolation.end()
    assert life.files == [], "nothing is left to remember"
    assert Life(life.directory).kills(2) == [0]


def test_what_ends_the_process_by_an_exception_is_a_kill(life: Life) -> None:
    one, two, _three = life.take(1, 2, 3)
    life.leave(one)
    life.isolation.keep()
    life.leave(two, answered=False)
    life.isolation.end()
    assert life.named == {2, 3}
    assert Life(life.directory).kills(1, 2, 3) == [0, 1, 1]


def test_a_suspect_given_back_stays_one_and_the_next_comes_in(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    one, _two = life.take(1, 2)
    assert life.begun == [1]
    life.leave(one, answered=False)
    assert life.named == {2}
    assert life.begun == [1, 2]
    assert metrics.SUSPECTS._value.get() == 2


def test_who_is_given_back_while_it_waits_blocks_nobody(life: Life) -> None:
    life.take(1, 2)
    life = life.killed()
    one, two, _three = life.take(1, 2, 3)
    life.leave(two, answered=False)
    assert life.begun == [1]
    life.leave(one)
    assert (life.begun, life.named) == ([1, 3], {3})


def test_of_those_given_back_together_none_begins(life: Life) -> None:
    life.take(1, 2, 3)
    life = life.killed()
    works = life.take(1, 2, 3)
    life.leave(*works, answered=False)
    assert (life.begun, life.named) == ([1], set())


def test_when_the_last_suspect_is_answered_all_go_together_again(life: Life) -> None:
    life.take(1)
    life = life.killed()
    one, *others = life.take(1, 2, 3)
    assert life.begun == [1]
    life.leave(one)
    assert life.begun == [1, 2, 3]
    others += life.take(4, 5)
    assert (life.begun, life.named) == ([1, 2, 3, 4, 5], {2, 3, 4, 5})
    life.leave(*others)
    assert life.named == set()


def test_suspects_are_remembered_up_to_a_number(life: Life) -> None:
    for start in range(0, 60, 10):
        life.take(*range(start, start + 10))
        life = life.killed()
    assert metrics.SUSPECTS._value.get() == SUSPECTS_PER_EVENT * 10


def test_the_oldest_record_is_a_suspect_however_many_younger_ones_there_are(life: Life) -> None:
    for start in range(0, 60, 10):  # of partitions that others have now
        life.take(*range(100 + start, 110 + start))
        life = life.killed()
    life.take(1, 2, 3)
    assert life.killed().kills(1, 2, 3) == [1, 1, 1]


def test_without_a_journal_all_are_judged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    isolation = Isolation.of(Settings(journal_dir=tmp_path / "file"))
    assert metrics.JOURNAL_FAILING._value.get() == 1
    works = [work(offset) for offset in (1, 2)]
    assert isolation.take(works) == works
    assert [each.error for each in works] == [None, None]
    isolation.leave(works, answered=True)
    isolation.end()


def test_a_record_that_wanders_from_worker_to_worker_is_condemned_by_all_of_their_kills(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.take(1, 2)
    first = first.killed()  # in company
    second = first.beside()
    assert second.kills(1) == [0], "a kill in company accuses nobody elsewhere"
    second.leave(*second.take(2), answered=False)
    first.take(1)
    assert first.beside().kills(1) == [0], "the first one lives, and has killed nobody with it so far"
    first.isolation._journal.close()  # killed alone, and not started again
    assert first.beside().kills(1) == [2]
    assert first.beside().kills(1) == [2], "told twice is no more"


def test_what_is_done_beside_judgement_is_named_and_takes_the_blame_off_the_others(life: Life) -> None:
    life.take(1)
    assert not life.isolation.began_after_a_kill
    with life.isolation.beside(work(2).record):
        assert life.named == {1, 2}
    assert life.named == {1}
    beside = life.isolation.beside(work(2).record)
    beside.__enter__()
    again = life.killed()
    assert again.isolation.began_after_a_kill
    assert again.kills(1, 2, 3) == [1, 1, 0]


def test_who_is_beside_when_the_worker_ends_is_no_suspect(life: Life) -> None:
    with life.isolation.beside(work(2).record):
        after = life.ended()
    assert not after.isolation.began_after_a_kill
    assert after.named == set()


def test_a_suspect_that_outlives_an_orderly_end_is_no_second_kill(life: Life) -> None:
    life.take(1)
    after = life.killed()
    assert after.isolation.began_after_a_kill
    later = after.ended()  # the record's partition is another worker's meanwhile
    assert not later.isolation.began_after_a_kill
    assert later.kills(1) == [1], "and still a suspect"
