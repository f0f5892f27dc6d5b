"""Spare time: the guards, for checks that wait until no event of the main path needs them."""

import asyncio
import math
from collections.abc import Sequence

from worker.guards.guard import Check, Finding, Guard
from worker.guards.runner import DeviceLost, DeviceThread, Judged
from worker.moderation.quiet import Quiet


class SpareTime:
    """The device between the batches of the main path. Belongs to one event loop.

    One check at a time, past the lanes: what becomes of it is in none of their metrics, opens no breaker and changes no
    budget. An event that comes meanwhile waits for the end of that one check at most.
    """

    def __init__(self, guards: Sequence[Guard], device: DeviceThread, quiet: Quiet, timeout: float = math.inf) -> None:
        """`timeout`: seconds on the device after which a check counts as hanging."""
        self.guards = tuple(guards)
        self._device, self._quiet, self._timeout = device, quiet, timeout

    async def wait(self) -> None:
        """Returns in a moment in which the main path does not need the guards."""
        await self._quiet.wait()

    async def judge(self, guard: Guard, check: Check) -> Finding:
        """The guard's finding, whenever there is time for it. Raises DeviceLost, also where the check hangs: nothing
        can be judged any more then."""
        while True:
            await self._quiet.wait()
            judged = await self._try(guard, check)
            if judged.findings:
                return judged.findings[0]

    async def _try(self, guard: Guard, check: Check) -> Judged:
        """Empty where an event of the main path came before the check's turn."""
        loop, on_device = asyncio.get_running_loop(), asyncio.Event()

        def board() -> list[Check]:  # on the device's thread
            if self._quiet.busy:
                return []
            loop.call_soon_threadsafe(on_device.set)
            return [check]

        judging = asyncio.wrap_future(self._device.submit(guard, board))
        watch = asyncio.create_task(self._watch(on_device, judging))
        try:
            await asyncio.wait((judging, watch), return_when=asyncio.FIRST_COMPLETED)
            if not judging.done():
                raise DeviceLost(f"{guard.name}: a check in spare time has not come back for {self._timeout:g} s")
            return judging.result()
        finally:
            watch.cancel()

    async def _watch(self, on_device: asyncio.Event, judging: "asyncio.Future[Judged]") -> None:
        """Ends when the check hangs."""
        await on_device.wait()
        await asyncio.wait((judging,), timeout=None if self._timeout == math.inf else self._timeout)
