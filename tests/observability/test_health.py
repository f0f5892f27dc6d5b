"""Health follows from progress: a worker that polls and finishes lives, one that hangs does not."""

import pytest

from worker.observability.health import Health, Phase


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A worker's health with a clock in the test's hands: 120 s without a finished record is stuck, and after 45 s
    without a sign of life the group gives its partitions away."""

    def __init__(self, phase: Phase = Phase.RUNNING) -> None:
        self.clock = HandClock()
        self.health = Health(120.0, 45.0, self.clock)
        self.health.phase = phase

    def lives(self, seconds: float, in_flight: int, *, finishes: bool = False, kafka: bool = True) -> None:
        """Polls every second for some time, in which Kafka answers or not."""
        for _ in range(int(seconds)):
            self.clock.now += 1
            self.health.polled(in_flight)
            if kafka:
                self.health.kafka_answered()
            if finishes:
                self.health.finished()


def test_a_new_worker_loads_and_is_live_but_not_ready() -> None:
    health = Health(120.0, 45.0, HandClock())
    assert health.phase is Phase.LOADING
    assert health.live().ok
    assert not health.ready().ok


@pytest.mark.parametrize(
    ("phase", "live", "ready"),
    [
        (Phase.WAITING, True, False),
        (Phase.LOADING, True, False),
        (Phase.JOINING, True, False),
        (Phase.RUNNING, True, True),
        (Phase.REBALANCING, True, False),
        (Phase.DRAINING, True, False),
        (Phase.FAILED, False, False),
    ],
)
def test_each_phase_has_its_answers(phase: Phase, live: bool, ready: bool) -> None:
    health = Worker(phase).health
    assert (health.live().ok, health.ready().ok) == (live, ready)
    assert health.live().phase is health.ready().phase is phase
    assert health.live().why


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.LOADING, Phase.JOINING, Phase.DRAINING])
def test_before_and_after_running_nothing_need_come_around(phase: Phase) -> None:
    worker = Worker(phase)
    worker.health.polled(5)
    worker.clock.now += 10_000
    assert worker.health.live().ok


def test_a_worker_that_loaded_for_long_is_live_as_soon_as_it_runs() -> None:
    worker = Worker(Phase.LOADING)
    worker.clock.now += 600
    worker.health.phase = Phase.RUNNING
    assert worker.health.live().ok
    worker.clock.now += 31
    assert not worker.health.live().ok


def test_without_a_poll_a_worker_is_not_live_well_before_the_group_gives_its_partitions_away() -> None:
    worker = Worker()
    worker.health.polled(0)
    worker.clock.now += 30
    assert worker.health.live().ok
    worker.clock.now += 1
    report = worker.health.live()
    assert (report.ok, report.why) == (False, "the intake has not come around for 31 s")
    assert worker.health.ready().why == report.why
    worker.health.polled(0)
    assert worker.health.live().ok


def test_an_idle_worker_is_never_stuck() -> None:
    worker = Worker()
    worker.lives(10_000, in_flight=0)
    assert worker.health.live().ok


def test_a_busy_worker_that_finishes_is_live() -> None:
    worker = Worker()
    worker.lives(1000, in_flight=2048, finishes=True)
    assert worker.health.live().ok


def test_work_in_flight_of_which_nothing_is_finished_is_stuck() -> None:
    worker = Worker()
    worker.lives(1, in_flight=7)
    worker.lives(120, in_flight=7)
    assert worker.health.live().ok
    worker.lives(1, in_flight=7)
    report = worker.health.live()
    assert (report.ok, report.why) == (False, "7 events in flight and none finished for 121 s")
    assert not worker.health.ready().ok
    worker.health.finished()
    assert worker.health.live().ok


def test_a_worker_that_waits_for_kafka_is_not_stuck() -> None:
    worker = Worker()
    worker.lives(1, in_flight=7)
    worker.lives(3600, in_flight=7, kafka=False)
    report = worker.health.live()
    assert report.ok
    assert report.why == "7 events in flight and none finished for 3600 s; Kafka has not answered for 3600 s"
    worker.lives(120, in_flight=7)
    assert worker.health.live().ok, "it is back, and has as long as ever"
    worker.lives(2, in_flight=7)
    assert not worker.health.live().ok
    assert "Kafka" not in worker.health.live().why


def test_a_worker_that_is_stuck_stays_so_while_kafka_is_slow() -> None:
    worker = Worker()
    worker.lives(1, in_flight=7)
    for _ in range(6):
        worker.lives(1, in_flight=7)
        worker.lives(25, in_flight=7, kafka=False)
    assert not worker.health.live().ok


def test_the_wait_begins_with_the_first_record_after_an_idle_time() -> None:
    worker = Worker()
    worker.lives(500, in_flight=0)
    worker.lives(100, in_flight=1)
    assert worker.health.live().ok
    worker.lives(22, in_flight=1)
    assert not worker.health.live().ok


@pytest.mark.parametrize("partitions", [0, 12])
def test_readiness_tells_the_partitions_and_a_spare_worker_is_ready(partitions: int) -> None:
    worker = Worker()
    worker.health.partitions = partitions
    report = worker.health.ready()
    assert (report.ok, report.why) == (True, f"{partitions} partitions assigned")


def test_a_rebalance_that_others_hold_up_is_no_hang_of_ours_but_one_without_end_is() -> None:
    worker = Worker()
    worker.health.phase = Phase.REBALANCING
    worker.clock.now += 300
    assert worker.health.live().ok
    worker.clock.now += 400
    assert not worker.health.live().ok
    worker.health.phase = Phase.RUNNING
    assert worker.health.live().ok
