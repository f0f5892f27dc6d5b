"""Preparer: the CPU part of the guards' work, on threads, so that it overlaps the device's."""

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from worker.contract.errors import Stage, Unjudgeable
from worker.guards.guard import Guard
from worker.moderation.decision import GuardAnswer
from worker.moderation.request import Request
from worker.observability import metrics

log = structlog.get_logger(__name__)

_HAND_BACK_EVERY = 0.002  # seconds: results travel to the event loop together, one wake-up for many
_QUEUE_SECONDS = metrics.STAGE.labels("queue")
_SECONDS = metrics.STAGE.labels("prepare")


class Preparer:
    """Runs every guard's `prepare` on a few threads. Belongs to the event loop that constructs it.

    It runs ahead of the guards only so far: prepared images are a hundred times as large as their files.
    """

    def __init__(
        self, guards: Sequence[Guard], threads: int, most_ahead: int, then: Callable[[Sequence[Request]], object]
    ) -> None:
        """`most_ahead`: tokens prepared and not given back with `done_with` at which no further event is prepared.
        `then` is called with requests that are prepared: they have `answers` without findings yet, or an error. Also
        without any, when a thread comes back."""
        self._guards = tuple(guards)
        self._threads, self._most_ahead, self._then = threads, most_ahead, then
        self._ahead = 0
        self._counting = threading.Lock()
        self._pool = _pool_of(threads)
        self._jobs: deque[Request] = deque()
        self._done: deque[tuple[Request, float, float]] = deque()  # and the seconds it waited, and took
        self._at: set[Request] = set()  # the threads
        self._told = False  # the event loop knows that something is done
        self._active = 0  # threads at work; changed on the event loop only
        self._loop = asyncio.get_running_loop()

    def prepare(self, requests: Iterable[Request]) -> None:
        """Has events prepared for every guard; say `done_with` them. One that is over by its turn is left out."""
        now = time.perf_counter()
        for request in requests:
            request.since = now
            self._jobs.append(request)
        self._wake()

    def done_with(self, requests: Iterable[Request]) -> None:
        """These are judged, or given up: there is room to prepare more. May be said twice."""
        with self._counting:
            for request in requests:
                self._ahead -= request.tokens_ahead
                request.tokens_ahead = 0
        self._wake()

    def holds(self, request: Request) -> bool:
        """Whether a thread is at it. Of a request that is over: none begins with those."""
        return request in self._at

    def close(self) -> list[Request]:
        """Starts nothing more, and waits for the event that each thread is at. Those that have not started, and never
        will."""
        unstarted = list(self._jobs)
        self._jobs.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
        return unstarted

    def _wake(self) -> None:
        if self._jobs and self._ahead < self._most_ahead:
            for _ in range(min(self._threads - self._active, len(self._jobs))):
                self._active += 1
                self._pool.submit(self._work)

    def _work(self) -> None:
        """Until no job is left, or enough is prepared. Runs on a thread."""
        while self._ahead < self._most_ahead:
            try:
                request = self._jobs.popleft()
            except IndexError:
                break
            if self._done and not self._told:  # the next job may take long: what is done does not wait for it
                self._told = True
                self._loop.call_soon_threadsafe(self._loop.call_later, _HAND_BACK_EVERY, self._hand_back)
            self._at.add(request)  # before it is asked whether it is over: `holds` looks the other way round
            if not request.over:
                began = time.perf_counter()
                self._prepare(request)
                self._done.append((request, began - request.since, time.perf_counter() - began))
            self._at.discard(request)
        self._loop.call_soon_threadsafe(self._finished)

    def _prepare(self, request: Request) -> None:
        try:
            event, policy = request.scope.event, request.policy
            assert event is not None  # else there is nothing to ask the guards
            request.answers = [GuardAnswer(guard.name, guard.prepare(event, policy)) for guard in self._guards]
            tokens = 0
            for answer in request.answers:
                for check in answer.preparation.checks:
                    tokens += check.tokens
            with self._counting:
                self._ahead += tokens
                request.tokens_ahead = tokens
        except Unjudgeable as cause:
            request.error = cause
        except BaseException as error:  # content that a library cannot take; a panic in Rust is no Exception
            # Never the exception's words: they may quote content.
            where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.error(
                "prepare_failed", event_id=request.event.event_id, exception=type(error).__name__, where=where[-5:]
            )
            request.error = Unjudgeable(
                "prepare_failed", f"the event could not be prepared ({type(error).__name__})", Stage.PREPARE
            )

    def _finished(self) -> None:
        self._active -= 1
        self._hand_back()
        self._wake()  # for a job that came in while the thread was on its way out

    def _hand_back(self) -> None:
        self._told = False
        done = [self._done.popleft() for _ in range(len(self._done))]  # the threads add to it meanwhile
        requests, waited, took = zip(*done, strict=True) if done else ((), (), ())
        _QUEUE_SECONDS.observe_all(waited)
        _SECONDS.observe_all(took)
        self._then(requests)


def _pool_of(threads: int) -> ThreadPoolExecutor:
    """All its threads are there: one that cannot be started is told of now, and not while an event waits for it."""
    pool, together = ThreadPoolExecutor(threads, thread_name_prefix="prepare"), threading.Barrier(threads + 1)
    try:
        for _ in range(threads):
            pool.submit(together.wait)
        together.wait()
    except BaseException:
        together.abort()
        raise
    return pool
