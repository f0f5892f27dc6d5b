"""What the metrics cost: an event's writes, as the worker makes them, in CPU time."""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle

from worker.contract.verdict import Coverage, Label, PolicyRef, Scores, Source, Verdict
from worker.moderation.lane_metrics import LaneMetrics
from worker.observability import metrics
from worker.stream.outcome_counts import OutcomeCounts

_EVENTS = 20_000  # a round
_EVENTS_A_BATCH = 32  # and as many a fetch; under load there are more


def metrics_cost(rounds: int = 7) -> float:
    """Seconds of CPU time that an event's metrics take: the median of some rounds. This process' metrics are wrong
    afterwards."""
    event = _an_events_writes()
    return statistics.median(_timed(event) for _ in range(rounds))


def _timed(event: Callable[[], None]) -> float:
    began = time.thread_time()
    for _ in range(_EVENTS):
        event()
    whole = time.thread_time() - began
    batches = [LaneMetrics(name) for name in ("llama_guard", "prompt_guard")]
    lengths = [32] * _EVENTS_A_BATCH
    began = time.thread_time()
    for _ in range(_EVENTS // _EVENTS_A_BATCH):
        metrics.RECORDS.inc(_EVENTS_A_BATCH)
        for batch in batches:
            batch.batch(lengths, 16384, 0.001, 0.001)
            metrics.DEVICE_BUSY.inc(0.001)
    return (whole + time.thread_time() - began) / _EVENTS


def _an_events_writes() -> Callable[[], None]:
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
    verdicts = cycle([unsafe, *[safe] * 9])

    def event() -> None:
        for stage in stages:
            stage.observe(0.003)
        miss.inc()
        now = time.monotonic()
        counts.confirmed(next(verdicts), now, now)

    return event
