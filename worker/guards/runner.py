"""Runner: the thread that owns the device. One bad check never harms its neighbours."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from worker.batching.token_budget import padded_tokens
from worker.guards.errors import first_line
from worker.guards.guard import Check, Fault, Finding, Guard
from worker.observability import metrics

log = structlog.get_logger(__name__)

# By name, so that neither this file nor its tests need torch.
_OUT_OF_MEMORY_TYPES: Final = frozenset({"OutOfMemoryError", "MemoryError"})
_OUT_OF_MEMORY_WORDS: Final = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
# After one of these every later call on the device fails, too.
_DEVICE_LOST_TYPES: Final = frozenset({"AcceleratorError"})
_DEVICE_LOST_WORDS: Final = ("CUDA error", "device-side assert", "HIP error", "unspecified launch failure")


class DeviceLost(Exception):
    """The device answers nothing any more until the process starts anew. Nothing was judged: end without committing."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a batch, and what it says about the device's memory (in padded tokens)."""

    findings: list[Finding]  # one a check, in their order
    seconds: float = 0.0  # on the device, failed tries included
    passed_tokens: int = 0  # of the largest part that was judged at once; 0 where every check failed
    out_of_memory_tokens: int | None = None  # of the smallest part of several checks that was too much together


def judge_all(guard: Guard, checks: Sequence[Check]) -> Judged:
    """Every check's finding, whatever the guard raises.

    A batch that fails is halved down to the checks that fail alone; those get a finding with the fault `too_large` (out
    of memory) or `guard_error`. Raises DeviceLost.
    """
    if not checks:
        return Judged([])
    began = time.perf_counter()
    tries = _Tries(guard)
    try:
        findings = tries.judge(checks)
    finally:
        seconds = time.perf_counter() - began
        metrics.DEVICE_BUSY.inc(seconds)
    return Judged(findings, seconds, tries.passed_tokens, tries.out_of_memory_tokens)


class DeviceThread:
    """One thread, through which everything goes to the device."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._clock = clock
        self._free_since = -math.inf

    def submit(self, guard: Guard, board: Callable[[], Sequence[Check]]) -> "Future[Judged]":
        """Queues a batch; the future gives its findings or DeviceLost. Batches run in the order of submission.

        `board` is called on the device's thread when the batch's turn has come, and gives its checks: until then it
        may grow, and from one batch to the next the device waits for no other thread.
        """
        queued = self._clock()
        return self._executor.submit(lambda: self._run(guard, board, queued))

    def close(self) -> None:
        """Waits for the running batch, cancels the queued ones, and ends the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, guard: Guard, board: Callable[[], Sequence[Check]], queued: float) -> Judged:
        stood_still_since = max(queued, self._free_since)
        checks = board()
        metrics.DEVICE_HANDOVER.inc(self._clock() - stood_still_since)
        try:
            return judge_all(guard, checks)
        finally:
            self._free_since = self._clock()


class _Tries:
    """The tries at one batch: whole, then its halves."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.passed_tokens = 0
        self.out_of_memory_tokens: int | None = None

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        guard = self._guard
        try:
            findings = list(guard.judge(checks))
            if len(findings) != len(checks):
                raise RuntimeError(f"{guard.name} gave {len(findings)} findings for {len(checks)} checks")
            self.passed_tokens = max(self.passed_tokens, _padded(checks))
            return findings
        except Exception as error:
            if isinstance(error, DeviceLost):
                raise
            if _is_device_lost(error):
                raise DeviceLost(f"{guard.name}: {first_line(error)}") from error
            out_of_memory = _is_out_of_memory(error)
            alone = _fault(guard, checks[0], error) if len(checks) == 1 else None
            if alone is None:
                _tell_halved(guard, checks, error)
        # Outside of the except block: the exception's frames hold the failed batch's tensors.
        _free_memory()
        if alone is not None:
            return [alone]
        middle = len(checks) // 2
        findings = self.judge(checks[:middle]) + self.judge(checks[middle:])
        if out_of_memory:
            self._were_too_much_together(checks, findings)
        return findings

    def _were_too_much_together(self, checks: Sequence[Check], findings: Sequence[Finding]) -> None:
        """Unless one of them is too large alone: then the failure is that one's, and tells nothing about the others."""
        if all(finding.fault is not Fault.TOO_LARGE for finding in findings):
            tokens = _padded(checks)
            self.out_of_memory_tokens = min(self.out_of_memory_tokens or tokens, tokens)


def _padded(checks: Sequence[Check]) -> int:
    return padded_tokens([check.tokens for check in checks])


def _fault(guard: Guard, check: Check, error: Exception) -> Finding:
    out_of_memory = _is_out_of_memory(error)
    # Never the exception's words: they may quote content.
    log.error(
        "check_too_large" if out_of_memory else "check_failed",
        guard=guard.name,
        tokens=check.tokens,
        exception=type(error).__name__,
    )
    return Finding(None, fault=Fault.TOO_LARGE if out_of_memory else Fault.GUARD_ERROR)


def _tell_halved(guard: Guard, checks: Sequence[Check], error: Exception) -> None:
    if _is_out_of_memory(error):
        metrics.OUT_OF_MEMORY_SPLITS.labels(guard.name).inc()
    metrics.BATCH_RETRIES.labels(guard.name).inc()
    log.warning(
        "batch_halved",
        guard=guard.name,
        checks=len(checks),
        tokens=sum(check.tokens for check in checks),
        exception=type(error).__name__,
    )


def _is_out_of_memory(error: Exception) -> bool:
    return _is(error, _OUT_OF_MEMORY_TYPES, _OUT_OF_MEMORY_WORDS)


def _is_device_lost(error: Exception) -> bool:
    return not _is_out_of_memory(error) and _is(error, _DEVICE_LOST_TYPES, _DEVICE_LOST_WORDS)


def _is(error: Exception, types: frozenset[str], words: tuple[str, ...]) -> bool:
    if not types.isdisjoint(kind.__name__ for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _free_memory() -> None:
    """Gives the cached blocks back, so that the halves find memory in one piece."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
