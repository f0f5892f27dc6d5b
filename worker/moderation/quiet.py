"""Quiet: the moments in which no event of the main path is with the guards, for work that must not delay any."""

import asyncio


class Quiet:
    """Counts the events that are prepared, wait for the device or are on it. Belongs to one event loop; `busy` may be
    read on any thread."""

    __slots__ = ("_asking", "_waiting")

    def __init__(self) -> None:
        self._asking = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def busy(self) -> bool:
        """Whether an event is with the guards."""
        return self._asking > 0

    def enter(self, events: int) -> None:
        """So many events begin."""
        self._asking += events

    def leave(self, events: int) -> None:
        """So many have their answers, or will have none."""
        self._asking -= events
        if not self._asking and self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    async def wait(self) -> None:
        """Returns in a quiet moment."""
        while self._asking:
            quiet = asyncio.get_running_loop().create_future()
            self._waiting.append(quiet)
            await quiet
