"""Is the device ever idle while there is work? The real moderator and preparation before a device that only sleeps.

Sleeping takes as long as a GPU would and leaves the CPU to the preparation, as a GPU does. What the bench cannot show
is what the guards' own Python costs while it feeds a GPU.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles
from typing import Final, Literal

from worker.batching.token_budget import padded_tokens
from worker.contract.chat_event import ChatEvent
from worker.contract.record import PlainRecord
from worker.guards.guard import Check, Finding, Guard, ModelId, Preparation
from worker.guards.loading import load_guards
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.settings import STAND_IN, Settings
from worker.standins.corpus import conversation

# Of Llama Guard's 12 billion parameters, Prompt Guard has 86 million.
_COST: Final = {"llama_guard": 1.0, "prompt_guard": 0.01}  # of a token


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """How long a batch takes: `seconds_per_batch + padded tokens x seconds_per_token`.

    The default token is Llama Guard 4's on an H100: 24 GFLOP at 400 TFLOP/s.
    """

    seconds_per_token: float = 60e-6
    seconds_per_batch: float = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """What the worker has to do."""

    events: int = 1500
    image_share: float = 0.0  # of the events
    in_flight: int = 1024  # most events at once, as the worker's setting
    events_per_second: float | None = None  # arriving at random; None: all are waiting from the start


@dataclass(frozen=True, slots=True)
class DeviceBusy:
    """What came of it. Times in seconds."""

    share: float  # of the time from the first batch's begin to the last one's end: the device's thread is in `judge`
    share_computing: float  # the same, without what the thread waits for the interpreter after the device is done
    share_with_checks_ready: float  # as `share`, without the times in which nothing was prepared and waiting
    seconds: float  # from the first batch's begin to the last one's end
    batches: int
    batch_seconds: float  # the median batch
    gap_seconds: float  # the median time between a batch and the next
    longest_gap_seconds: float
    padding: float  # share of the computed tokens
    events_per_second: float
    latency_p50: float
    latency_p99: float


@dataclass(frozen=True, slots=True)
class _Run:
    began: float
    ended: float
    seconds: float  # that the device computed
    checks: int
    tokens: int  # without padding
    padded: int


class _Tape:
    """What happened on the device and before it. Appending to a list is safe on several threads."""

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self.ready: list[tuple[float, int]] = []  # when, and how many checks came ready


class _SleepingGuard:
    """Prepares as the real guard; judges by sleeping."""

    def __init__(self, guard: Guard, tape: _Tape, device: SimulatedDevice) -> None:
        self._guard, self._tape, self._device = guard, tape, device

    @property
    def name(self) -> str:
        return self._guard.name

    @property
    def models(self) -> tuple[ModelId, ...]:
        return self._guard.models

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        preparation = self._guard.prepare(event, policy)
        self._tape.ready.append((time.perf_counter(), len(preparation.checks)))
        return preparation

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        began, lengths = time.perf_counter(), [check.tokens for check in checks]
        padded = padded_tokens(lengths)
        seconds = self._device.seconds_per_batch + padded * _COST[self.name] * self._device.seconds_per_token
        time.sleep(seconds)
        self._tape.runs.append(_Run(began, time.perf_counter(), seconds, len(checks), sum(lengths), padded))
        return [Finding(0.0)] * len(checks)


def device_busy(
    load: Load = Load(),  # frozen
    device: SimulatedDevice = SimulatedDevice(),  # frozen
    *,
    batch_tokens: int = 1536,
    prepare_threads: int = 2,
    seed: int = 0,
) -> DeviceBusy:
    """Judges the events with the stand-ins' preparation; their weights are used only to fill the prefix cache.

    `batch_tokens` is both guards' budget: with the defaults a full Llama Guard batch takes 0.1 s.
    """
    guards = load_guards(Settings(llama_guard_model=STAND_IN, prompt_guard_model=STAND_IN, device="cpu"))
    events = sample_events(load, random.Random(seed))
    for guard in guards:  # so that checks cost what they cost in a worker that has run for a while
        for event in events[:20]:
            guard.judge(guard.prepare(event, DEFAULT_POLICY).checks)
    tape = _Tape()
    sleeping = [_SleepingGuard(guard, tape, device) for guard in guards]
    budgets = {guard.name: batch_tokens for guard in guards}
    options = ModeratorOptions(budgets, prepare_threads=prepare_threads, verdict_cache_bytes=0)  # each event is judged
    latencies = asyncio.run(_judge_all(sleeping, options, events, load, random.Random(seed)))
    return _summary(tape, latencies)


def sample_events(load: Load, rng: random.Random) -> list[ChatEvent]:
    """Prompts and responses of 10 to 250 tokens, a share of them with a picture."""
    events = []
    for number in range(load.events):
        pictures = int(rng.random() < load.image_share)
        role: Literal["user", "assistant"] = "user" if pictures else rng.choice(("user", "assistant"))
        filler = None if pictures else rng.choice((0, 1, 2, 4, 8, 30))
        messages = conversation(rng, role, pictures=pictures, filler=filler)
        fields = {"event_id": f"e{number}", "conversation_id": "c", "messages": [each.as_sent() for each in messages]}
        events.append(ChatEvent.model_validate(fields))
    return events


async def _judge_all(
    guards: Sequence[Guard], options: ModeratorOptions, events: Sequence[ChatEvent], load: Load, rng: random.Random
) -> list[float]:
    """The latency of each event, in seconds."""
    moderator = Moderator(guards, options)
    room = asyncio.Semaphore(load.in_flight)
    latencies: list[float] = []

    async def judge(number: int, event: ChatEvent) -> None:
        arrived = time.monotonic()
        await moderator.judge(Request.about(event, DEFAULT_POLICY, PlainRecord("bench", 0, number), arrived))
        latencies.append(time.monotonic() - arrived)
        room.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            due = time.monotonic()
            for number, event in enumerate(events):
                if load.events_per_second is not None:
                    due += rng.expovariate(load.events_per_second)
                    await asyncio.sleep(max(due - time.monotonic(), 0))
                await room.acquire()
                tasks.create_task(judge(number, event))
    finally:
        moderator.close()
    return latencies


def _summary(tape: _Tape, latencies: Sequence[float]) -> DeviceBusy:
    runs = sorted(tape.runs, key=lambda run: run.began)
    seconds = runs[-1].ended - runs[0].began
    busy = sum(run.ended - run.began for run in runs)
    gaps = [following.began - run.ended for run, following in pairwise(runs)]
    percentiles = quantiles(latencies, n=100)
    return DeviceBusy(
        share=busy / seconds,
        share_computing=sum(run.seconds for run in runs) / seconds,
        share_with_checks_ready=busy / (busy + _idle_with_checks_ready(tape)),
        seconds=seconds,
        batches=len(runs),
        batch_seconds=median(run.ended - run.began for run in runs),
        gap_seconds=median(gaps),
        longest_gap_seconds=max(gaps),
        padding=1 - sum(run.tokens for run in runs) / sum(run.padded for run in runs),
        events_per_second=len(latencies) / seconds,
        latency_p50=percentiles[49],
        latency_p99=percentiles[98],
    )


def _idle_with_checks_ready(tape: _Tape) -> float:
    """Seconds since the first batch in which the device had nothing to do while checks were prepared and waiting."""
    # (when, change of the checks that wait, change of the batches on the device)
    changes = [(moment, checks, 0) for moment, checks in tape.ready]
    for run in tape.runs:
        changes += [(run.began, -run.checks, 1), (run.ended, 0, -1)]
    first = min(run.began for run in tape.runs)
    idle, waiting, computing = 0.0, 0, 0
    for (moment, checks, batches), (following, _, _) in pairwise(sorted(changes)):
        waiting, computing = waiting + checks, computing + batches
        if waiting > 0 and not computing and moment > first:
            idle += following - moment
    return idle
