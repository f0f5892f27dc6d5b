"""Single flight: identical content is judged once, also while its first event is still being judged."""

from collections.abc import Sequence

from worker.moderation.request import Request
from worker.moderation.verdict_cache import VerdictCache
from worker.observability import metrics

_HIT = metrics.VERDICT_CACHE_LOOKUPS.labels("hit")
_JOINED = metrics.VERDICT_CACHE_LOOKUPS.labels("joined")
_MISS = metrics.VERDICT_CACHE_LOOKUPS.labels("miss")


class SingleFlight:
    """Who leads and who follows among requests of identical content, which have the same `key`.

    The first one of a content leads: it is judged. Those that come meanwhile follow: they hold nothing and wait for its
    judgement. A leader waits for nobody, so nobody waits for ever; whoever waits may be given up any time.
    """

    def __init__(self, cache: VerdictCache) -> None:
        self._cache = cache
        self._followers: dict[bytes, list[Request]] = {}  # of each content that is being judged

    def __len__(self) -> int:
        return len(self._followers)

    def leads(self, request: Request) -> bool:
        """Whether a request is to be judged. If not it has an earlier judgement now, or follows another one of its
        content, and `came` or `gave_up` hands it out."""
        key = request.key
        if (kept := self._cache.get(key)) is not None:
            request.judgement, request.cached = kept, True
            _HIT.inc()
            return False
        if (followers := self._followers.get(key)) is not None:
            followers.append(request)
            return False
        self._followers[key] = []
        request.leads = True
        _MISS.inc()
        return True

    def keep(self, request: Request) -> None:
        """A request was judged: its judgement may answer later ones."""
        if request.judgement is not None:
            self._cache.put(request.key, request.judgement)

    def came(self, request: Request) -> tuple[Sequence[Request], Sequence[Request]]:
        """A request was judged, or has failed. Those that followed it: the ones that have its judgement now, and, where
        it has none to share, those to be judged each on its own."""
        if not request.leads:
            return (), ()
        judgement = request.judgement
        request.leads = False
        followers = self._followers.pop(request.key)
        if not followers:
            return (), ()
        waiting = [each for each in followers if not each.over]
        if judgement is None or not judgement.reusable:
            _MISS.inc(len(waiting))
            return (), waiting
        for each in waiting:
            each.judgement, each.cached = judgement, True
        _JOINED.inc(len(waiting))
        return waiting, ()

    def gave_up(self, request: Request) -> Request | None:
        """A request that was to be judged is over before that. Who leads in its place, where somebody follows it."""
        if not request.leads:
            return None
        request.leads = False
        waiting = [each for each in self._followers.pop(request.key) if not each.over]
        if not waiting:
            return None
        following, *others = waiting
        self._followers[request.key] = others
        following.leads = True
        _MISS.inc()
        return following
