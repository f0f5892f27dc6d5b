"""Verdicts of one key leave in the order of its events."""

import asyncio


class Turn:
    """An event's place among those of its key."""

    __slots__ = ("_before", "_gate", "_key", "_left")

    def __init__(self, gate: "KeyOrder", key: bytes | None, before: "asyncio.Future[None] | None") -> None:
        self._gate, self._key, self._before = gate, key, before
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Returns when every earlier event of the key has left."""
        if self._before is not None:
            await asyncio.shield(self._before)  # who is cancelled here must not cancel the one before

    def leave(self) -> None:
        """Lets the next one go, once every earlier one has left, too. May be called twice."""
        if self._before is not None and not self._before.done():
            self._before.add_done_callback(lambda _: self._go())
        else:
            self._go()

    def _go(self) -> None:
        if not self._left.done():
            self._left.set_result(None)
            self._gate._forget(self._key, self._left)


class KeyOrder:
    """Who comes after whom. A turn is taken when its record is fetched, never later: two tasks could wait for each
    other for ever."""

    def __init__(self) -> None:
        self._last: dict[bytes, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def enter(self, key: bytes | None) -> Turn:
        """The next turn of a key. Records without a key have no order."""
        if key is None:
            return Turn(self, None, None)
        turn = Turn(self, key, self._last.get(key))
        self._last[key] = turn._left
        return turn

    def _forget(self, key: bytes | None, left: "asyncio.Future[None]") -> None:
        if key is not None and self._last.get(key) is left:
            del self._last[key]
