"""Panel: all guards, asked about events."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from worker.guards.guard import Guard
from worker.guards.runner import DeviceLost, DeviceThread
from worker.moderation.guard_lane import GuardLane
from worker.moderation.options import ModeratorOptions
from worker.moderation.preparer import Preparer
from worker.moderation.quiet import Quiet
from worker.moderation.request import Request, Then
from worker.moderation.spare_time import SpareTime
from worker.observability import metrics

_BATCHES_AHEAD = 4  # two in the air, and as much again to choose neighbours in length from

_GUARD_SECONDS = metrics.STAGE.labels("guard")


class Panel:
    """Prepares events for all guards and has them judged. Belongs to the event loop that constructs it; `close` it when
    done."""

    def __init__(
        self,
        guards: Sequence[Guard],
        options: ModeratorOptions,
        answered: Then,
        *,
        on_started: Then = lambda _requests: None,
        on_let_go: Then = lambda _requests: None,
        on_lost: Callable[[DeviceLost], object] = lambda _error: None,
        on_guard_down: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answered` is told of requests that have all guards' answers, or an error. `on_let_go` is told of requests
        that were given up and `held`, when no thread is at them any more. `on_started`, `on_lost`: as GuardLane has
        them.
        `on_guard_down` is called with the name of a guard that is down."""
        self._guards, self._timeout, self._clock, self._answered = tuple(guards), options.batch_timeout, clock, answered
        self._quiet, self._device, self._closed = Quiet(), DeviceThread(), False
        self._on_let_go, self._held = on_let_go, list[Request]()
        most_ahead = _BATCHES_AHEAD * sum(options.batch_tokens[guard.name] for guard in guards)
        self._preparer = Preparer(guards, options.prepare_threads, most_ahead, self._prepared)
        self.lanes = [
            GuardLane(
                guard,
                self._device,
                self._ended,
                batch_tokens=options.batch_tokens[guard.name],
                max_wait=options.batch_wait,
                timeout=options.batch_timeout,
                breaker_failures=options.breaker_failures,
                on_started=on_started,
                on_landed=self._look_at_held,
                on_lost=on_lost,
                on_guard_down=on_guard_down and partial(on_guard_down, guard.name),
                clock=clock,
            )
            for guard in guards
        ]

    def ask(self, requests: Sequence[Request]) -> None:
        """Has the guards judge what the requests' scopes hold."""
        for request in requests:
            request.with_guards = True
        self._quiet.enter(len(requests))
        if self._closed:
            self._refuse(requests)
        else:
            self._preparer.prepare(requests)

    def give_up(self, request: Request) -> None:
        """Does nothing more for a request. May be called at any time, and twice. It is `held` then, or no thread is at
        it."""
        request.over = True
        if request.with_guards:
            if self._is_held(request):
                self._held.append(request)
            self._let_go((request,))
            for lane in self.lanes:
                lane.gave_up(request)

    def _is_held(self, request: Request) -> bool:
        request.held = self._preparer.holds(request) or any(lane.holds(request) for lane in self.lanes)
        return request.held

    def _look_at_held(self) -> None:
        """A thread has come back from what it was at."""
        if self._held:
            given_up = self._held
            self._held = [request for request in given_up if self._is_held(request)]
            if let_go := [request for request in given_up if not request.held]:
                self._on_let_go(let_go)

    def spare_time(self) -> SpareTime:
        """The same guards on the same device, while no event needs them."""
        return SpareTime(self._guards, self._device, self._quiet, self._timeout)

    def close(self) -> None:
        """Ends the threads; requests that have not started fail."""
        self._closed = True
        unstarted = self._preparer.close()
        self._device.close()
        self._refuse([request for request in unstarted if not request.over])

    def _refuse(self, requests: Sequence[Request]) -> None:
        for request in requests:
            request.fail(RuntimeError("the guards were closed with work left"))
        if requests:
            self._ended(requests)

    def _prepared(self, requests: Sequence[Request]) -> None:
        self._look_at_held()
        if not requests:
            return
        try:
            ended = self._submitted(requests)
        except BaseException as error:  # whatever it is: the event loop would only log it, and the events were lost
            ended = [request for request in requests if not request.over]
            for request in ended:
                request.fail(error)
        if ended:
            self._ended(ended)

    def _submitted(self, requests: Sequence[Request]) -> list[Request]:
        """Has these judged that can be. The others, and those that need not be."""
        ready: list[Request] = []
        ended: list[Request] = []
        now = self._clock()
        for request in requests:
            if request.over:
                self._preparer.done_with((request,))
            elif request.error is not None:
                ended.append(request)
            else:
                request.since, request.left = now, 0
                for answer in request.answers:
                    request.left += len(answer.preparation.checks)
                (ready if request.left else ended).append(request)
        for number, lane in enumerate(self.lanes):
            ended += lane.submit(ready, number)
        return ended

    def _ended(self, requests: Sequence[Request]) -> None:
        """They have their answers, or will have none."""
        self._let_go(requests)
        now = self._clock()
        _GUARD_SECONDS.observe_all([now - request.since for request in requests if request.error is None])
        self._answered(requests)

    def _let_go(self, requests: Sequence[Request]) -> None:
        for request in requests:
            request.with_guards = False
        self._quiet.leave(len(requests))
        self._preparer.done_with(requests)
