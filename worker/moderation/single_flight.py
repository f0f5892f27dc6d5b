"""Single flight: identical content is judged once, also while its first event is still being judged."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto

from worker.moderation.verdict_cache import Judgement, VerdictCache
from worker.observability import metrics

_HIT = metrics.VERDICT_CACHE_LOOKUPS.labels("hit")
_JOINED = metrics.VERDICT_CACHE_LOOKUPS.labels("joined")
_MISS = metrics.VERDICT_CACHE_LOOKUPS.labels("miss")

Judge = Callable[[], Awaitable[Judgement]]


class _NoAnswer(Enum):
    """Why a leader left its followers without a judgement."""

    NOT_REUSABLE = auto()  # review, or it failed: each of them is judged on its own
    CANCELLED = auto()  # given back to Kafka: one of them leads the others now


class SingleFlight:
    """Who leads and who follows among events of identical content. Belongs to the event loop that constructs it.

    The first event of a content leads: it is judged. Those that come meanwhile follow: they hold nothing and wait for
    its judgement. A leader waits for no other event, so nobody waits for ever; a follower may be cancelled any time.
    """

    def __init__(self, cache: VerdictCache) -> None:
        self._cache = cache
        self._leaders: dict[bytes, asyncio.Future[Judgement | _NoAnswer] | None] = {}  # None: nobody follows yet
        self._loop = asyncio.get_running_loop()

    async def judge(self, key: bytes, judge: Judge) -> tuple[Judgement, bool]:
        """The judgement on the content with this key, and whether it is another event's.

        `judge` judges the event itself; it is called once at most, and what it raises is passed on.
        """
        while True:
            if (kept := self._cache.get(key)) is not None:
                _HIT.inc()
                return kept, True
            if key not in self._leaders:
                _MISS.inc()
                return await self._lead(key, judge), False
            answer = await asyncio.shield(self._followed(key))  # who is cancelled here must not cancel the others
            if isinstance(answer, Judgement):
                _JOINED.inc()
                return answer, True
            if answer is _NoAnswer.NOT_REUSABLE:
                _MISS.inc()
                return await self._judged(key, judge), False

    async def _lead(self, key: bytes, judge: Judge) -> Judgement:
        self._leaders[key] = None
        answer: Judgement | _NoAnswer = _NoAnswer.NOT_REUSABLE
        try:
            judgement = await self._judged(key, judge)
            if judgement.reusable:
                answer = judgement
            return judgement
        except asyncio.CancelledError:
            answer = _NoAnswer.CANCELLED
            raise
        finally:
            followed = self._leaders.pop(key)
            if followed is not None:
                followed.set_result(answer)

    def _followed(self, key: bytes) -> "asyncio.Future[Judgement | _NoAnswer]":
        """The answer of a leader to its followers."""
        followed = self._leaders[key]
        if followed is None:
            followed = self._leaders[key] = self._loop.create_future()
        return followed

    async def _judged(self, key: bytes, judge: Judge) -> Judgement:
        judgement = await judge()
        self._cache.put(key, judgement)
        return judgement
