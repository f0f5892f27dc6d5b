"""The runner: one bad check never harms its neighbours; a lost device is never mistaken for a bad check."""

import threading
import time
from collections.abc import Sequence
from functools import partial

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.fakes import FakeGuard
from worker.guards.guard import Check, Fault, Finding
from worker.guards.runner import DeviceLost, DeviceThread, Judged, judge_all

HANDOVER = "moderation_device_handover_seconds_total"


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class AcceleratorError(RuntimeError):
    """Named like torch's."""


def checks(*texts: str) -> list[Check]:
    return [Check(len(text), text) for text in texts]


def raising(culprit: str, error: Exception) -> FakeGuard:
    def score_of(text: str) -> float:
        if text == culprit:
            raise error
        return len(text) / 10

    return FakeGuard(score_of=score_of)


def test_findings_in_the_order_of_the_checks() -> None:
    judged = judge_all(raising("-", ValueError()), checks("a", "bb", "ccc"))
    assert [finding.score for finding in judged.findings] == [0.1, 0.2, 0.3]
    assert (judged.passed_tokens, judged.out_of_memory_tokens) == (9, None)


def test_no_checks_no_call() -> None:
    guard = FakeGuard()
    assert judge_all(guard, []) == Judged([])
    assert guard.batches == []


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), Fault.TOO_LARGE),
        (MemoryError(), Fault.TOO_LARGE),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), Fault.TOO_LARGE),
        (RuntimeError("CUDA error: out of memory"), Fault.TOO_LARGE),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Fault.TOO_LARGE),
        (RuntimeError("shapes do not match"), Fault.GUARD_ERROR),
        (KeyError("x"), Fault.GUARD_ERROR),
    ],
)
def test_the_culprit_alone_gets_the_fault(place: int, error: Exception, fault: Fault) -> None:
    texts = ["x" * (number + 1) for number in range(7)]
    findings = judge_all(raising(texts[place], error), checks(*texts)).findings
    assert [finding.fault for finding in findings] == [fault if number == place else None for number in range(7)]
    assert [finding.score for finding in findings] == [
        None if number == place else (number + 1) / 10 for number in range(7)
    ]


def test_two_culprits_in_one_batch() -> None:
    def score_of(text: str) -> float:
        if text.startswith("bad"):
            raise ValueError
        return 0.5

    findings = judge_all(FakeGuard(score_of=score_of), checks("bad 1", "good", "good", "bad 2", "good")).findings
    assert [finding.score for finding in findings] == [None, 0.5, 0.5, None, 0.5]


class Small(FakeGuard):
    """A guard on a device with little memory: for so many rows, and not for "x" at all."""

    rows = 2

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        if len(checks) > self.rows or any(check.payload == "x" for check in checks):
            self.batches.append([check.payload for check in checks])
            raise OutOfMemoryError("CUDA out of memory")
        return super().judge(checks)


def test_a_batch_too_large_together_is_judged_in_halves() -> None:
    guard = Small(score_of=lambda text: 0.25)
    judged = judge_all(guard, checks(*"abcdefgh"))
    assert [finding.score for finding in judged.findings] == [0.25] * 8
    assert [len(batch) for batch in guard.batches] == [8, 4, 2, 2, 4, 2, 2]
    assert (judged.passed_tokens, judged.out_of_memory_tokens) == (2, 4)


def test_what_is_told_of_the_memory_is_the_padded_cost() -> None:
    judged = judge_all(Small(score_of=lambda text: 0.0), checks("a", "b", "cccc"))
    assert (judged.passed_tokens, judged.out_of_memory_tokens) == (8, 12)


@pytest.mark.parametrize("place", range(8))
def test_a_check_that_is_too_large_alone_says_nothing_about_batches(place: int) -> None:
    guard = Small(score_of=lambda text: 0.25)
    guard.rows = 8
    texts = ["a"] * 8
    texts[place] = "x"
    judged = judge_all(guard, checks(*texts))
    assert [finding.fault for finding in judged.findings].index(Fault.TOO_LARGE) == place
    assert (judged.passed_tokens, judged.out_of_memory_tokens) == (4, None)


def test_beside_a_check_that_is_too_large_alone_the_others_still_tell() -> None:
    judged = judge_all(Small(score_of=lambda text: 0.25), checks(*"xbcdefgh"))
    assert [finding.score for finding in judged.findings] == [None, *[0.25] * 7]
    assert judged.out_of_memory_tokens == 4  # e, f, g, h


def test_an_error_that_is_no_out_of_memory_says_nothing_about_memory() -> None:
    judged = judge_all(raising("bad", ValueError()), checks("good", "good", "bad", "good"))
    assert judged.out_of_memory_tokens is None


def test_a_check_that_fails_alone_passed_nothing() -> None:
    judged = judge_all(Small(), checks("x"))
    assert (judged.passed_tokens, judged.out_of_memory_tokens) == (0, None)


def test_splits_for_want_of_memory_are_counted_and_others_are_not() -> None:
    def splits() -> float:
        return REGISTRY.get_sample_value("moderation_out_of_memory_splits_total", {"guard": "small"}) or 0.0

    before = splits()
    judge_all(Small("small"), checks(*"abcdefgh"))
    assert splits() == before + 3
    judge_all(Small("small"), checks("x"))  # nothing is split
    judge_all(FakeGuard("small", lambda text: 1 // 0), checks(*"ab"))
    assert splits() == before + 3


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_number_of_findings_is_an_error_of_the_guard(surplus: int) -> None:
    class Miscounting(FakeGuard):
        def judge(self, checks: Sequence[Check]) -> list[Finding]:
            return [Finding(0.0)] * (len(checks) + surplus)

    with capture_logs() as lines:
        findings = judge_all(Miscounting(), checks("a", "b", "c")).findings
    assert [finding.fault for finding in findings] == [Fault.GUARD_ERROR] * 3
    assert {line["exception"] for line in lines} == {"RuntimeError"}


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"),
    ],
)
def test_a_lost_device_ends_everything_at_once(error: Exception) -> None:
    guard = raising("bad", error)
    with pytest.raises(DeviceLost, match="CUDA error"):
        judge_all(guard, checks("good", "bad", "good"))
    assert len(guard.batches) == 1  # nothing was tried on the dead device


def test_the_log_never_quotes_content() -> None:
    secret = "my secret text"
    with capture_logs() as lines:
        judge_all(raising(secret, ValueError(f"cannot read {secret!r}")), checks(secret, "b"))
    assert [(line["event"], line.get("tokens"), line["exception"]) for line in lines] == [
        ("batch_halved", 15, "ValueError"),
        ("check_failed", 14, "ValueError"),
    ]
    assert secret not in str(lines)


def test_the_device_thread_runs_batches_one_by_one_in_order() -> None:
    seen: list[tuple[str, str]] = []

    def score_of(text: str) -> float:
        seen.append((text, threading.current_thread().name))
        time.sleep(0.001)
        return 0.5

    device = DeviceThread()
    futures = [device.submit(FakeGuard(score_of=score_of), partial(checks, text)) for text in "abc"]
    assert [future.result(60).findings[0].score for future in futures] == [0.5] * 3
    device.close()
    assert [text for text, _ in seen] == ["a", "b", "c"]
    assert len({thread for _, thread in seen}) == 1
    assert threading.current_thread().name not in {thread for _, thread in seen}


def test_who_is_in_a_batch_is_asked_when_the_device_is_free() -> None:
    started, go_on = threading.Event(), threading.Event()

    def score_of(text: str) -> float:
        started.set()
        go_on.wait(60)
        return 0.5

    device, queue = DeviceThread(), checks("b")
    guard = FakeGuard(score_of=score_of)
    device.submit(guard, lambda: checks("a"))
    next_one = device.submit(guard, lambda: queue)
    started.wait(60)
    queue.extend(checks("c"))
    go_on.set()
    assert len(next_one.result(60).findings) == 2
    device.close()
    assert guard.batches == [["a"], ["b", "c"]]


def test_a_device_that_stands_still_with_a_batch_at_hand_is_counted() -> None:
    now, before = 0.0, REGISTRY.get_sample_value(HANDOVER) or 0.0
    both_queued = threading.Event()

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    def board() -> list[Check]:
        both_queued.wait(60)
        passes(3)  # the thread waits for Python's lock
        return checks("a")

    def score_of(_text: str) -> float:
        passes(10)  # on the device: the next batch waits, but the device does not
        return 0.5

    device = DeviceThread(clock=lambda: now)
    futures = [device.submit(FakeGuard(score_of=score_of), board) for _ in range(2)]
    both_queued.set()
    for future in futures:
        future.result(60)
    passes(100)  # nothing to do: that is no standing still
    device.submit(FakeGuard(score_of=score_of), board).result(60)
    device.close()
    assert (REGISTRY.get_sample_value(HANDOVER) or 0.0) - before == 9


def test_the_device_thread_passes_a_lost_device_on() -> None:
    device = DeviceThread()
    future = device.submit(raising("bad", AcceleratorError("CUDA error: unknown error")), partial(checks, "bad"))
    with pytest.raises(DeviceLost):
        future.result(60)
    device.close()


def test_closing_waits_for_the_running_batch_and_cancels_the_queued() -> None:
    started, go_on = threading.Event(), threading.Event()

    def score_of(text: str) -> float:
        started.set()
        go_on.wait(60)
        return 0.5

    device = DeviceThread()
    guard = FakeGuard(score_of=score_of)
    running, queued = (device.submit(guard, partial(checks, text)) for text in "ab")
    started.wait(60)
    closing = threading.Thread(target=device.close)
    closing.start()
    while not queued.cancelled():
        time.sleep(0.001)
    go_on.set()
    closing.join(60)
    assert running.result(0).findings[0].score == 0.5


def test_a_guard_may_say_itself_that_its_device_is_lost() -> None:
    guard = raising("bad", DeviceLost("the remote guard is gone"))
    with pytest.raises(DeviceLost, match="the remote guard is gone"):
        judge_all(guard, checks("good", "bad", "good"))
    assert len(guard.batches) == 1
