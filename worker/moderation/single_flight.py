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
        self._leaders: dict[bytes, asyncio.Future[Judgement | _NoAnswer]] = {}
        self._loop = asyncio.get_running_loop()

    async def judge(self, key: bytes, judge: Judge) -> tuple[Judgement, bool]:
        """The judgement on the content with this key, and whether it is another event's.

        `judge` judges the event itself; it is called once at most, and what it raises is passed on.
        """
        while True:
            if (kept := self._cache.get(key)) is not None:
                _HIT.inc()
                return kept, True
            leader = self._leaders.get(key)
            if leader is None:
                _MISS.inc()
                return await self._lead(key, judge), False
            answer = await asyncio.shield(leader)  # who is cancelled here must not cancel the others
            if isinstance(answer, Judgement):
                _JOINED.inc()
                return answer, True
            if answer is _NoAnswer.NOT_REUSABLE:
                _MISS.inc()
                return await self._judged(key, judge), False

    async def _lead(self, key: bytes, judge: Judge) -> Judgement:
        followed = self._leaders[key] = self._loop.create_future()
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
            del self._leaders[key]
            followed.set_result(answer)

    async def _judged(self, key: bytes, judge: Judge) -> Judgement:
        judgement = await judge()
        self._cache.put(key, judgement)
        return judgement
