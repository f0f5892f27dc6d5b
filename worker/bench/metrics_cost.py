"""What the metrics cost: an event's writes, as the worker makes them, in CPU time."""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from worker.contract.record import PlainRecord
from worker.contract.verdict import Coverage, Label, PolicyRef, Scores, Source, Verdict
from worker.moderation.lane_metrics import LaneMetrics
from worker.observability import metrics
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.progress import PartitionProgress
from worker.stream.work import Work

_EVENTS = 20_000  # a round
_EVENTS_A_BATCH = 32  # and as many a fetch; under load there are more


def metrics_cost(rounds: int = 7) -> float:
    """Seconds of CPU time that an event's metrics take: the median of some rounds. This process' metrics are wrong
    afterwards."""
    write = _a_batchs_writes()
    return statistics.median(_timed(write) for _ in range(rounds))


def _timed(write: Callable[[], None]) -> float:
    began = time.thread_time()
    for _ in range(_EVENTS // _EVENTS_A_BATCH):
        write()
    return (time.thread_time() - began) / (_EVENTS // _EVENTS_A_BATCH * _EVENTS_A_BATCH)


def _a_batchs_writes() -> Callable[[], None]:
    """As a batch of events has them."""
    counts = OutcomeCounts(f"tenant-{number}" for number in range(50))
    stages = [metrics.STAGE.labels(name) for name in ("queue", "prepare", "guard")]
    miss = metrics.VERDICT_CACHE_LOOKUPS.labels("miss")
    safe = Verdict(
        verdict_id=str(uuid.UUID(int=0)),
        event_id="e",
        conversation_id="c",
        tenant="tenant-25",
        label=Label.SAFE,
        reasons=(),
        judged_role="user",
        scores=Scores(),
        policy=PolicyRef(name="default", hash="0"),
        models=(),
        coverage=Coverage(),
        source=Source(topic="t", partition=0, offset=0),
        decided_at=datetime.now(UTC),
        latency_ms=1.0,
    )

    unsafe = replace(safe, label=Label.UNSAFE, violated_categories=("S9",))
    works = []
    owner = PartitionProgress("t/0")
    for number in range(_EVENTS_A_BATCH):
        work = Work(PlainRecord("t", 0, number), time.monotonic(), lambda _works: None, owner)
        work.outcome = safe if number % 10 else unsafe
        works.append(work)
    lanes = [LaneMetrics(name) for name in ("llama_guard", "prompt_guard")]
    lengths = [32] * _EVENTS_A_BATCH

    def write() -> None:
        metrics.RECORDS.inc(_EVENTS_A_BATCH)
        for _ in works:
            miss.inc()
        for stage in stages:
            stage.observe_all([0.003] * len(works))
        for lane in lanes:
            lane.batch(lengths, 16384, 0.001, 0.001)
            metrics.DEVICE_BUSY.inc(0.001)
        counts.confirmed(works)

    return write
