"""Event -> verdict: the worker's reason to be, without Kafka."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from worker.contract.verdict import ModelRef, Verdict
from worker.guards.guard import Guard
from worker.guards.runner import DeviceLost
from worker.moderation.content_key import LARGE, characters_held, content_key
from worker.moderation.options import ModeratorOptions
from worker.moderation.panel import Panel
from worker.moderation.request import Request, Then, answered, tell
from worker.moderation.scope import scope_of
from worker.moderation.single_flight import SingleFlight
from worker.moderation.spare_time import SpareTime
from worker.moderation.verdict_cache import VerdictCache
from worker.moderation.verdicts import VerdictWriter, judged


class Moderator:
    """Judges events with all guards. Belongs to the event loop that constructs it; `close` it when done.

    The way of a request: what an earlier judgement answers needs no guard; who has the same content as one that is
    being judged waits for its judgement; all others go to the guards, and what these say is decided.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        options: ModeratorOptions,
        *,
        on_started: Then = lambda _requests: None,
        on_let_go: Then = lambda _requests: None,
        on_lost: Callable[[DeviceLost], object] = lambda _error: None,
        on_guard_down: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_started` is told of requests that a guard has begun with; some of them perhaps before. `on_let_go` is
        told of those that were given up and `held`, when no thread is at them any more. `on_lost` is told of a batch
        that hangs, or loses the device, whoever still waits for it. `on_guard_down` is called with the name of a guard
        that is down: verdicts say `guard_unavailable` from then on, until the guard answers again."""
        for guard in guards:
            if guard.name not in options.batch_tokens:  # its findings would be overlooked, and that means safe
                raise ValueError(f"no batch budget and no rule of decision for a guard named {guard.name!r}")
        self._clock, self._now = clock, now
        self.panel = Panel(
            guards,
            options,
            self._answered,
            on_started=on_started,
            on_let_go=on_let_go,
            on_lost=on_lost,
            on_guard_down=on_guard_down,
            clock=clock,
        )
        models = [
            ModelRef(id=model.id, revision=model.revision, stand_in=model.stand_in)
            for guard in guards
            for model in guard.models
        ]
        self._writer = VerdictWriter(models, event_in_reviews=options.event_in_review_verdicts)
        cache = VerdictCache(options.verdict_cache_bytes) if options.verdict_cache_bytes else None
        self._single_flight = None if cache is None else SingleFlight(cache)
        self._hear: Then | None = None
        self._finding_keys: set[asyncio.Task[None]] = set()

    def judge_all(self, requests: Sequence[Request]) -> None:
        """Has events judged: `then` of each is called once, with those that are answered at the same moment. They have
        a verdict, or an error: Unjudgeable where there can be none. Not so of a request that is given up."""
        self._go_on(requests, self._needs_guards)

    async def judge(self, request: Request) -> Verdict:
        """The verdict on one event. Raises what keeps it from having one."""
        await answered(request, self.judge_all, self.give_up)
        assert request.verdict is not None
        return request.verdict

    def give_up(self, request: Request) -> None:
        """Does nothing more for a request, and tells nobody of it. May be called at any time, and twice. Where it is
        `held` then, it may still kill the process, or hang, until `on_let_go` is told of it."""
        self.panel.give_up(request)
        if self._single_flight is not None and (following := self._single_flight.gave_up(request)):
            self.panel.ask([following])

    def decided(self, request: Request) -> Verdict:
        """The verdict that follows from a request's answers. Raises what keeps it from having one."""
        return self._writer.verdict_on(request, judged(request), self._now(), self._clock() - request.arrived)

    def follow(self, hear: Then) -> None:
        """From now on `hear` is told of all requests that are answered, before they are: they still have their
        `answers`, empty where no guard was asked. It must raise nothing."""
        self._hear = hear

    def spare_time(self) -> SpareTime:
        """The same guards on the same device, while no event needs them."""
        return self.panel.spare_time()

    def close(self) -> None:
        """Ends the threads; requests that have not started fail."""
        self.panel.close()

    def _go_on(self, requests: Sequence[Request], needs_guards: Callable[[Request], bool]) -> None:
        """Asks the guards about those that need it now. The others have their judgement already, or wait for it."""
        ended, to_ask = [], []
        for request in requests:
            try:
                if needs_guards(request):
                    to_ask.append(request)
                elif request.judgement is not None:
                    ended.append(request)
            except BaseException as error:
                request.fail(error)
                ended.append(request)
        if to_ask:
            self.panel.ask(to_ask)
        if ended:
            self._tell(ended)

    def _needs_guards(self, request: Request) -> bool:
        event, policy = request.event, request.policy
        request.scope = scope_of(event, policy)
        if request.scope.event is None:
            request.judgement = judged(request)
            return False
        if self._single_flight is None or (characters := characters_held(event)) is None:
            return True
        if characters > LARGE:
            self._finding_keys.add(task := asyncio.create_task(self._find_key(request, self._single_flight)))
            task.add_done_callback(self._finding_keys.discard)
            return False
        request.key = content_key(event, policy)
        return self._single_flight.leads(request)

    async def _find_key(self, request: Request, single_flight: SingleFlight) -> None:
        """On a thread: meanwhile it would hold up the event loop."""
        error: Exception | None = None
        try:
            request.key = await asyncio.to_thread(content_key, request.event, request.policy)
        except Exception as cause:
            error = cause
        if request.over:
            return  # given up meanwhile
        if error is not None:
            request.fail(error)
            self._tell((request,))
        else:
            self._go_on((request,), single_flight.leads)

    def _answered(self, requests: Sequence[Request]) -> None:
        """The guards have answered, or failed."""
        ended: list[Request] = []
        to_ask: list[Request] = []
        flight = self._single_flight
        for request in requests:
            if request.error is None:
                try:
                    request.judgement = judged(request)
                    if flight is not None and request.key:
                        flight.keep(request)
                except BaseException as error:  # whatever it is: nobody else would hear of it
                    request.fail(error)
            ended.append(request)
            if flight is not None and request.leads:
                joined, alone = flight.came(request)
                ended += joined
                to_ask += alone
        if to_ask:
            self.panel.ask(to_ask)
        self._tell(ended)

    def _tell(self, requests: Sequence[Request]) -> None:
        """They are judged, or have failed."""
        now, decided_at = self._clock(), self._now()
        for request in requests:
            if request.judgement is not None:
                try:
                    request.verdict = self._writer.verdict_on(
                        request, request.judgement, decided_at, now - request.arrived
                    )
                except BaseException as error:
                    request.fail(error)
        if self._hear is not None:
            self._hear(requests)
        for request in requests:
            request.forget()
        tell(requests)
