"""The guard engine under load, without Kafka: preparation on threads, batches as the worker forms them, judging."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from worker.batching.batcher import Batcher
from worker.batching.token_budget import TokenBudget, padded_tokens
from worker.bench.flops import wait_for
from worker.bench.workload import Job
from worker.guards.guard import Check, Finding, Guard

_BATCHES_AHEAD: Final = 4  # as the moderator prepares
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class _Queued:
    """A check, and whose it is."""

    job: int
    check: Check
    arrived: float = 0.0

    @property
    def tokens(self) -> int:
        return self.check.tokens


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What became of the jobs."""

    findings: Sequence[Finding]  # a job, in their order
    batch_seconds: Sequence[float]
    padding: float  # share of the batches' cost that is filling


def run_engine(guard: Guard, jobs: Sequence[Job], batch_tokens: int, device: str) -> EngineRun:
    """Judges jobs of one check each; preparation runs ahead, as in the worker."""
    findings: dict[int, Finding] = {}
    seconds, useful, padded = [], 0, 0
    with ThreadPoolExecutor(_THREADS) as pool:
        prepared = pool.map(lambda job: guard.prepare(job.event, job.policy).checks[0], jobs)
        for batch in _batches(map(_Queued, range(len(jobs)), prepared), batch_tokens):
            began = time.perf_counter()
            found = guard.judge([queued.check for queued in batch])
            wait_for(device)
            seconds.append(time.perf_counter() - began)
            findings |= {queued.job: finding for queued, finding in zip(batch, found, strict=True)}
            lengths = [queued.tokens for queued in batch]
            useful, padded = useful + sum(lengths), padded + padded_tokens(lengths)
    return EngineRun([findings[number] for number in range(len(jobs))], seconds, 1 - useful / padded)


def _batches(stream: Iterator[_Queued], batch_tokens: int) -> Iterator[Sequence[_Queued]]:
    """Batches of a stream that comes in faster than it is judged."""
    batcher: Batcher[_Queued] = Batcher(TokenBudget(batch_tokens), max_wait=0)
    ahead = 0
    for queued in stream:
        batcher.add(queued)
        ahead += queued.tokens
        if ahead >= _BATCHES_AHEAD * batch_tokens:
            batch = batcher.take()
            ahead -= sum(each.tokens for each in batch)
            yield batch
    while len(batcher):
        yield batcher.take()
