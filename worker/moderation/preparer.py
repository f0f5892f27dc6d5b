"""CPU threads that turn events into checks: render, tokenise, decode images."""

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.guards.guard import Guard, Preparation
from worker.observability import metrics
from worker.policy.policy import Policy

log = structlog.get_logger(__name__)

_HAND_BACK_EVERY = 0.002  # seconds: results travel to the event loop together, one wake-up for many
_QUEUE_SECONDS = metrics.STAGE.labels("queue")
_SECONDS = metrics.STAGE.labels("prepare")

Preparations = list[Preparation]


@dataclass(slots=True)
class _Job:
    event: ChatEvent
    policy: Policy
    future: "asyncio.Future[Preparations]"
    came: float = field(default_factory=time.perf_counter)
    began: float = 0.0
    seconds: float = 0.0


class Preparer:
    """Runs every guard's `prepare` on a few threads. Belongs to the event loop that constructs it.

    It runs ahead of the guards only so far: prepared images are a hundred times as large as their files.
    """

    def __init__(self, guards: Sequence[Guard], threads: int, most_ahead: int) -> None:
        """`most_ahead`: tokens prepared and not given back with `done_with` at which no further event is prepared."""
        self._guards = tuple(guards)
        self._threads = threads
        self._most_ahead = most_ahead
        self._ahead = 0
        self._counting = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._jobs: deque[_Job] = deque()
        self._done: deque[tuple[_Job, Preparations | BaseException]] = deque()
        self._told = False  # the event loop knows that something is done
        self._waking = False
        self._active = 0  # threads at work; changed on the event loop only
        self._loop = asyncio.get_running_loop()

    async def prepare(self, event: ChatEvent, policy: Policy) -> Preparations:
        """One preparation a guard, in the guards' order; say `done_with` them. Raises Unjudgeable."""
        future: asyncio.Future[Preparations] = self._loop.create_future()
        self._jobs.append(_Job(event, policy, future))
        if not self._waking:  # once for all that come in this round of the loop: a thread costs more than a job
            self._waking = True
            self._loop.call_soon(self._wake)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.done_with(future.result())  # it came, and nobody will take it any more
            raise

    def done_with(self, preparations: Preparations) -> None:
        """These are judged, or given up: there is room to prepare more."""
        self._count(-_tokens(preparations))
        self._wake()

    def close(self) -> None:
        """Starts nothing more, cancels what has not started, and waits for the job that each thread is at."""
        while self._jobs:
            self._jobs.popleft().future.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _wake(self) -> None:
        self._waking = False
        if self._ahead < self._most_ahead:
            for _ in range(min(self._threads - self._active, len(self._jobs))):
                self._active += 1
                self._pool.submit(self._work)

    def _work(self) -> None:
        """Until no job is left, or enough is prepared. Runs on a thread."""
        while self._ahead < self._most_ahead:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break
            if self._done and not self._told:  # the next job may take long: what is done does not wait for it
                self._told = True
                self._loop.call_soon_threadsafe(self._loop.call_later, _HAND_BACK_EVERY, self._hand_back)
            if not job.future.cancelled():
                self._done.append((job, self._prepare(job)))
        self._loop.call_soon_threadsafe(self._finished)

    def _prepare(self, job: _Job) -> Preparations | BaseException:
        job.began = time.perf_counter()
        try:
            preparations = [guard.prepare(job.event, job.policy) for guard in self._guards]
            self._count(_tokens(preparations))
            return preparations
        except Unjudgeable as cause:
            return cause
        except BaseException as error:  # content that a library cannot take; a panic in Rust is no Exception
            # Never the exception's words: they may quote content.
            where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.error("prepare_failed", event_id=job.event.event_id, exception=type(error).__name__, where=where[-5:])
            return Unjudgeable(
                "prepare_failed", f"the event could not be prepared ({type(error).__name__})", Stage.PREPARE
            )
        finally:
            job.seconds = time.perf_counter() - job.began

    def _finished(self) -> None:
        self._active -= 1
        self._hand_back()
        self._wake()  # for a job that came in while the thread was on its way out

    def _hand_back(self) -> None:
        self._told = False
        while self._done:
            job, result = self._done.popleft()
            _QUEUE_SECONDS.observe(job.began - job.came)
            _SECONDS.observe(job.seconds)
            if isinstance(result, BaseException):
                if not job.future.done():
                    job.future.set_exception(result)
            elif job.future.done():
                self.done_with(result)
            else:
                job.future.set_result(result)

    def _count(self, tokens: int) -> None:
        with self._counting:
            self._ahead += tokens


def _tokens(preparations: Preparations) -> int:
    return sum(check.tokens for preparation in preparations for check in preparation.checks)
