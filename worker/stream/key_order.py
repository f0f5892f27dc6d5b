"""Verdicts of one key leave in the order of its events."""

import asyncio


class Turn:
    """An event's place among those of its key."""

    __slots__ = ("_before", "_gate", "_gone", "_key", "_left")

    def __init__(self, gate: "KeyOrder", key: bytes | None, before: "Turn | None") -> None:
        self._gate, self._key, self._before = gate, key, before
        self._left = False
        self._gone: asyncio.Future[None] | None = None  # only where somebody waits for it: most leave alone

    @property
    def must_wait(self) -> bool:
        """Whether an earlier event of the key has not left yet."""
        return self._before is not None and not self._before._left

    async def wait(self) -> None:
        """Returns when every earlier event of the key has left."""
        if self._before is not None and not self._before._left:
            await asyncio.shield(self._before._going)  # who is cancelled here must not cancel the one before

    def leave(self) -> None:
        """Lets the next one go, once every earlier one has left, too. May be called twice."""
        if self._before is not None and not self._before._left:
            self._before._going.add_done_callback(lambda _: self._go())
        else:
            self._go()

    @property
    def _going(self) -> "asyncio.Future[None]":
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        return self._gone

    def _go(self) -> None:
        if not self._left:
            self._left = True
            self._before = None  # a key's turns are no chain that grows
            if self._gone is not None:
                self._gone.set_result(None)
            self._gate._forget(self)


class KeyOrder:
    """Who comes after whom. A turn is taken when its record is fetched, never later: two tasks could wait for each
    other for ever."""

    def __init__(self, *, kept: bool = True) -> None:
        """`kept`: False lets every event go when it is ready."""
        self._kept = kept
        self._last: dict[bytes, Turn] = {}

    def __len__(self) -> int:
        return len(self._last)

    def enter(self, key: bytes | None) -> Turn:
        """The next turn of a key. Records without a key have no order."""
        if key is None or not self._kept:
            return Turn(self, None, None)
        turn = Turn(self, key, self._last.get(key))
        self._last[key] = turn
        return turn

    def _forget(self, turn: Turn) -> None:
        if turn._key is not None and self._last.get(turn._key) is turn:
            del self._last[turn._key]
