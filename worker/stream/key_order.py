"""Verdicts of one key leave in the order of its events. Pure: no loop, no clock."""

from collections.abc import Iterable

from worker.stream.work import Work


class KeyOrder:
    """Who comes after whom. A place is taken when the record is fetched, never later: two could wait for each other
    for ever."""

    def __init__(self, *, kept: bool = True) -> None:
        """`kept`: False lets every event go when it is ready."""
        self._kept = kept
        self._last: dict[bytes, Work] = {}

    def __len__(self) -> int:
        return len(self._last)

    def enter(self, works: Iterable[Work]) -> None:
        """They came, in this order. Records without a key have none."""
        if not self._kept:
            return
        last = self._last
        for work in works:
            if (key := work.record.key) is not None:
                if (before := last.get(key)) is not None:
                    work.before, before.behind = before, work
                last[key] = work

    def may_leave(self, work: Work) -> bool:
        """Whether every earlier one of its key has left. If not, `leave` hands it out when they have."""
        work.waits_for_key = work.before is not None
        return not work.waits_for_key

    def leave(self, work: Work) -> Work | None:
        """It has left, or never will: once every earlier one has left, too, the next one of its key may go. Which is
        returned where it waits for that; it must leave then. May be called twice."""
        work.waits_for_key, work.left_its_key = False, True
        while work.before is None:
            following, work.behind = work.behind, None
            if following is None:
                key = work.record.key
                if key is not None and self._last.get(key) is work:
                    del self._last[key]
                return None
            following.before = None  # a key's works are no chain that grows
            if not following.left_its_key:
                return following if following.waits_for_key else None
            work = following
        return None
