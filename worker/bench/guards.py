"""The guard engine against the release's snippet and against padded batches: in one run, on the same weights."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import mean, median
from typing import Any, Final

import torch
import transformers
from transformers import AutoProcessor

from worker.bench.engine import EngineRun, run_engine
from worker.bench.flops import FlopCounter, matmul_flops_per_second, wait_for
from worker.bench.random_model import random_model_of
from worker.bench.rivals import Release, padded_batches
from worker.bench.token_counts import with_published_counts
from worker.bench.workload import Job, Workload, jobs_of
from worker.guards.allocator import keep_freed_memory
from worker.guards.dtype import dtype_of
from worker.guards.guard import Fault, Finding, ModelId
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.guards.llama_guard.prompts import Prompts
from worker.local.percentile import percentile
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins import weights_dir
from worker.standins.build import MAX_TILES, TILE, Dims, guard_processor

_PUBLISHED_TILES: Final = 16  # most tiles of an image in the published checkpoint
_MOST_SAID: Final = 3  # categories that 10 new tokens hold
_ANOTHER_SHARE: Final = 0.2  # most messages that violate something violate one thing
_UNNEEDED: Final = 3  # tokens of a check that a safe verdict would not need: those that lead to the category


@dataclass(frozen=True, slots=True)
class Bench:
    """How to measure."""

    dims: Dims
    batch_tokens: int
    rounds: int = 3
    snippet_messages: int = 32  # the snippet is timed on so many of all lengths, as written on half of them
    unsafe_share: float = 0.1
    device: str = "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """As the worker's setting `auto` has it."""
        return dtype_of("auto", self.device)


@dataclass(frozen=True, slots=True)
class GuardsResult:
    """What came of it: medians over the rounds. Rates are messages a second, latencies seconds."""

    workload: Workload
    ratio_snippet: float  # engine / snippet that stops after its verdict
    ratio_as_written: float  # engine / snippet as written, with 10 new tokens
    ratio_padded: float  # engine / padded batches that stop after the verdict
    ratio_bound: float  # tokens that the snippet computes / tokens that cannot be avoided
    matmul_share: float  # of the measured matmul rate, on tokens that cannot be avoided
    matmul_flops_per_second: float
    rate_engine: float
    rate_snippet: float
    rate_as_written: float
    rate_padded: float
    latency_snippet: float  # of one message
    latency_engine_alone: float  # of one message in a batch of its own
    latency_engine_batch: float  # of a batch under load, median
    latency_engine_batch_p95: float
    padding: float  # share of the batches' cost that is filling; the engine's linear layers do not compute it
    answers_compared: int
    answers_different: int


@dataclass(frozen=True, slots=True)
class _Round:
    """Seconds a message of each way, the machine's matmul rate, and the engine's run."""

    snippet: float
    as_written: float
    padded: float
    engine: float
    alone: float
    matmul: float
    run: EngineRun


class GuardsBench:
    """A model with random weights, and the ways to judge with it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        if bench.device == "cpu":
            keep_freed_memory()  # as the worker does; the rivals have it, too
        tokenizer = with_published_counts(AutoProcessor.from_pretrained(weights_dir("llama-guard-4")).tokenizer)
        processor = guard_processor(
            tokenizer, bench.dims.tile, MAX_TILES if bench.dims.tile == TILE else _PUBLISHED_TILES
        )
        model = random_model_of(
            processor,
            bench.dims,
            unsafe_share=bench.unsafe_share,
            another_share=_ANOTHER_SHARE,
            device=bench.device,
            dtype=bench.dtype,
        )
        self.parameters = sum(each.numel() for each in model.parameters())
        self._release = Release(model, processor)
        self._guard = LlamaGuard.of(model, processor, ModelId("random", "local-0", True), LlamaGuardOptions())
        self._prompts = Prompts(processor)
        self._flops = FlopCounter(model)

    def about(self) -> dict[str, Any]:
        """What was measured on what."""
        bench = self._bench
        name = platform.processor() if bench.device == "cpu" else torch.cuda.get_device_name(bench.device)
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "device": f"{name or 'CPU'}, {torch.get_num_threads()} threads" if bench.device == "cpu" else name,
            "dtype": str(bench.dtype).removeprefix("torch."),
            "dims": asdict(bench.dims),
            "parameters": self.parameters,
            "batch_tokens": bench.batch_tokens,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        }

    def run(self, workload: Workload, say: Callable[[str], None] = lambda line: None) -> GuardsResult:
        """Measures one workload. `say` gets a line before each step."""
        jobs = jobs_of(workload, self._prompts)
        say("warming up")
        self._engine(jobs[: max(8, workload.policies)])  # prefixes are computed once in a worker's life
        self._release.snippet(jobs[0], 2)
        rounds = []
        for number in range(self._bench.rounds):
            say(f"round {number + 1} of {self._bench.rounds}")
            rounds.append(self._round(jobs))
        return self._result(workload, jobs, rounds)

    def _engine(self, jobs: Sequence[Job]) -> EngineRun:
        return run_engine(self._guard, jobs, self._bench.batch_tokens, self._bench.device)

    def _round(self, jobs: Sequence[Job]) -> _Round:
        bench, release = self._bench, self._release
        few = [jobs[number] for number in self._sample(jobs)]
        half = few[::2]
        batches = list(padded_batches(jobs, bench.batch_tokens))
        rates = [matmul_flops_per_second(bench.device, bench.dtype)]
        snippet, _ = self._timed(lambda: [release.snippet(job, 2) for job in few])
        as_written, _ = self._timed(lambda: [release.snippet(job) for job in half])
        rates.append(matmul_flops_per_second(bench.device, bench.dtype))
        padded, _ = self._timed(lambda: [release.padded(batch) for batch in batches])
        engine, run = self._timed(lambda: self._engine(jobs))
        rates.append(matmul_flops_per_second(bench.device, bench.dtype))
        alone, _ = self._timed(lambda: [self._engine([job]) for job in half])
        return _Round(
            snippet=snippet / len(few),
            as_written=as_written / len(half),
            padded=padded / len(jobs),
            engine=engine / len(jobs),
            alone=alone / len(half),
            matmul=mean(rates),
            run=run,
        )

    def _timed(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds, and what came of it."""
        wait_for(self._bench.device)
        began = time.perf_counter()
        result = work()
        wait_for(self._bench.device)
        return time.perf_counter() - began, result

    def _result(self, workload: Workload, jobs: Sequence[Job], rounds: Sequence[_Round]) -> GuardsResult:
        batches = [seconds for each in rounds for seconds in each.run.batch_seconds]
        useful = [self._useful_tokens(job) for job in jobs]
        flops = sum(
            self._flops.prompt(tokens, job.prompt_tokens + 1 - tokens) for tokens, job in zip(useful, jobs, strict=True)
        ) / len(jobs)
        sample = self._sample(jobs)
        different = sum(
            not _same(self._release.snippet(jobs[number]), rounds[-1].run.findings[number]) for number in sample
        )
        return GuardsResult(
            workload=workload,
            ratio_snippet=median(each.snippet / each.engine for each in rounds),
            ratio_as_written=median(each.as_written / each.engine for each in rounds),
            ratio_padded=median(each.padded / each.engine for each in rounds),
            ratio_bound=sum(job.prompt_tokens + 1 for job in jobs) / sum(useful),
            matmul_share=median(flops / each.engine / each.matmul for each in rounds),
            matmul_flops_per_second=median(each.matmul for each in rounds),
            rate_engine=median(1 / each.engine for each in rounds),
            rate_snippet=median(1 / each.snippet for each in rounds),
            rate_as_written=median(1 / each.as_written for each in rounds),
            rate_padded=median(1 / each.padded for each in rounds),
            latency_snippet=median(each.snippet for each in rounds),
            latency_engine_alone=median(each.alone for each in rounds),
            latency_engine_batch=median(batches),
            latency_engine_batch_p95=percentile(batches, 0.95),
            padding=rounds[-1].run.padding,
            answers_compared=len(sample),
            answers_different=different,
        )

    def _useful_tokens(self, job: Job) -> int:
        """Tokens that no way to judge can avoid, once the prefix is known."""
        return self._guard.prepare(job.event, job.policy).checks[0].tokens - _UNNEEDED

    def _sample(self, jobs: Sequence[Job]) -> list[int]:
        """The numbers of the jobs that the snippet is timed on: of all lengths, so that their mean is that of all."""
        by_length = sorted(range(len(jobs)), key=lambda number: jobs[number].prompt_tokens)
        count = min(len(jobs), self._bench.snippet_messages)
        return [by_length[(2 * place + 1) * len(jobs) // (2 * count)] for place in range(count)]


def _same(said: str, finding: Finding) -> bool:
    """Whether the snippet's text says the same. Its 10 new tokens hold three categories, and the S of a fourth; random
    weights may repeat one, which the engine names once, or leave the grammar after that."""
    verdict, *listed = said.split() or [""]
    strange = finding.fault is Fault.UNPARSEABLE
    if verdict.startswith("safe"):  # what random weights say after it, nobody reads
        return finding.fault is None and not finding.categories
    keys = "".join(listed).split(",")
    cut = len(keys) > _MOST_SAID and keys.pop() == "S"
    if verdict != "unsafe" or not set(keys) <= set(CATEGORY_KEYS):
        return strange
    whole, found = list(dict.fromkeys(keys)), list(finding.categories)
    return (strange or found[: len(whole)] == whole) if cut else finding.fault is None and found == whole
