"""Shadow: another policy judges a share of the events a second time, for comparison. The main verdict knows nothing of
it, and waits for nothing of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import structlog

from worker.contract.record import Record
from worker.contract.verdict import Label, Verdict
from worker.guards.guard import Fault, Guard, Preparation
from worker.guards.runner import DeviceLost
from worker.moderation.content_key import characters_held
from worker.moderation.decision import GuardAnswer
from worker.moderation.moderator import Moderator
from worker.moderation.request import Request
from worker.moderation.shadow_case import ShadowCase
from worker.observability import metrics
from worker.policy.policy import Policy

log = structlog.get_logger(__name__)

_MOST_ARRIVED: Final = 1024  # events whose guards' answers may do
_MOST_WAITING: Final = 64  # events that the guards must be asked about, once they have time
_MOST_BYTES: Final = 16 << 20  # of the records of both
_OF_A_GUARD: Final = frozenset({Fault.TOO_LARGE, Fault.GUARD_ERROR, Fault.GUARD_UNAVAILABLE})

DROPPED: Final = ("busy", "behind", "image_url", "no_policy", "paused")
STAGES: Final = ("prepare", "judge", "decide", "publish")

# The shadow's verdict, the record, and the main verdict's label; returns when it was handed over.
Publish = Callable[[Verdict, Record, Label], Awaitable[None]]


class Shadow:
    """The shadow of a share of what a moderator judges. Belongs to the event loop that constructs it.

    Where the shadow's policy asks the guards what the event's own policy did, it decides on the same answers. Else it
    asks them itself, in their spare time. What it cannot do, or not now, it drops and counts.
    """

    def __init__(
        self,
        moderator: Moderator,
        policy: Callable[[], Policy | None],
        share: float,
        publish: Publish,
        *,
        naming: Callable[[Record], AbstractContextManager[None]] = lambda _record: nullcontext(),
        on_device_lost: Callable[[BaseException], None] = lambda _error: None,
        paused: bool = False,
    ) -> None:
        """`policy` gives the present shadow policy, None where there is none any more. `share` is from 0 to 1.
        `naming` is around all that could kill the process. `paused`: nothing is done."""
        self._moderator, self._policy, self._publish = moderator, policy, publish
        self._below = share * (1 << 32)
        self._naming, self._on_device_lost, self._paused = naming, on_device_lost, paused
        self._spare_time = moderator.spare_time()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._arrived: asyncio.Queue[ShadowCase] = asyncio.Queue(_MOST_ARRIVED)
        self._waiting: asyncio.Queue[ShadowCase] = asyncio.Queue(_MOST_WAITING)
        self._bytes = 0
        self._dropped = {reason: metrics.SHADOW_DROPPED.labels(reason) for reason in DROPPED}
        self._failed = {stage: metrics.SHADOW_ERRORS.labels(stage) for stage in STAGES}
        moderator.follow(self.saw)
        self._tasks = [asyncio.create_task(each) for each in (self._look_at_arrivals(), self._ask_for_those_waiting())]

    def takes(self, verdict_id: str) -> bool:
        """Whether an event is in the share: its id is a hash already."""
        return int(verdict_id[:8], 16) < self._below

    def saw(self, requests: Sequence[Request]) -> None:
        """The main path has answered these. Raises nothing."""
        for request in requests:
            if request.verdict is not None and self.takes(request.verdict.verdict_id):
                try:
                    self._take(request, request.verdict.label)
                except Exception as error:
                    self._tell("decide", error)

    def drop(self) -> None:
        """Gives up all that the shadow has not done, at once, and takes nothing more."""
        self._below = 0
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, request: Request, label: Label) -> None:
        policy = self._policy()
        if self._paused or policy is None:
            self._dropped["paused" if self._paused else "no_policy"].inc()
            return
        size = len(request.record.value or b"")
        if self._arrived.full() or self._bytes + size > _MOST_BYTES:
            self._dropped["behind"].inc()
            return
        self._arrived.put_nowait(ShadowCase(request, label, policy))
        self._bytes += size

    async def _look_at_arrivals(self) -> None:
        while True:
            case = await self._arrived.get()
            await asyncio.sleep(0)  # one in a round of the event loop: the main path's work comes between
            await self._guarded(case, self._look_at)

    async def _ask_for_those_waiting(self) -> None:
        while True:
            case = await self._waiting.get()
            await self._guarded(case, self._ask)

    async def _guarded(self, case: ShadowCase, do: Callable[[ShadowCase], Awaitable[bool]]) -> None:
        """Whatever comes of it stays here. `do` says whether the case is closed."""
        closed = True
        try:
            closed = await do(case)
        except Exception as error:
            self._tell(case.stage, error)
        finally:
            if closed:
                self._bytes -= case.size

    async def _look_at(self, case: ShadowCase) -> bool:
        if not case.missing([guard.name for guard in self._spare_time.guards]):
            await self._decide(case)
        elif characters_held(case.request.event) is None:  # another picture by now, perhaps; its host was asked once
            self._dropped["image_url"].inc()
        elif self._waiting.full():
            self._dropped["busy"].inc()
        else:
            self._waiting.put_nowait(case)
            return False
        return True

    async def _ask(self, case: ShadowCase) -> bool:
        with self._naming(case.record):
            try:
                await self._ask_guards(case)
            except DeviceLost as error:  # while it is named
                self._on_device_lost(error)
                raise
        await self._decide(case)
        return True

    async def _ask_guards(self, case: ShadowCase) -> None:
        missing = case.missing([guard.name for guard in self._spare_time.guards])
        guards = [guard for guard in self._spare_time.guards if guard.name in missing]
        await self._spare_time.wait()
        case.stage = "prepare"
        loop = asyncio.get_running_loop()
        preparations = await loop.run_in_executor(self._thread, _prepare, guards, case)
        case.stage = "judge"
        for guard, preparation in zip(guards, preparations, strict=True):
            findings = [await self._spare_time.judge(guard, check) for check in preparation.checks]
            if any(finding.fault in _OF_A_GUARD for finding in findings):
                raise GuardFailed(guard.name)
            case.answers[guard.name] = GuardAnswer(guard.name, preparation, findings)

    async def _decide(self, case: ShadowCase) -> None:
        case.stage = "decide"
        case.request.answers = list(case.answers.values())
        verdict = self._moderator.decided(case.request)
        verdict.event = None  # nobody reviews it
        case.stage = "publish"
        await self._publish(verdict, case.record, case.label)

    def _tell(self, stage: str, error: Exception) -> None:
        """Never the exception's words: they may quote content."""
        self._failed[stage].inc()
        log.warning("shadow_failed", stage=stage, exception=type(error).__name__)


class GuardFailed(Exception):
    """A guard could not judge a check of the shadow's."""


def _prepare(guards: Sequence[Guard], case: ShadowCase) -> list[Preparation]:
    """Runs on a thread."""
    assert case.scope.event is not None  # else no guard is missing
    try:
        return [guard.prepare(case.scope.event, case.request.policy) for guard in guards]
    except Exception:
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        raise GuardFailed(type(error).__name__) from None
