"""The workers of a storm: started, hit, watched, and replaced when a record kills one."""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.ledger import Kill
from tests.chaos.logs import WorkerLog, read_log
from tests.stream.rig import Rig, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerDied, WorkerProcess

_LOOK_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class Member:
    """One worker process."""

    process: WorkerProcess
    seen_alive: float  # seconds since the epoch
    told_to_go: bool = False  # SIGTERM was sent
    killed: bool = False  # SIGKILL was sent

    @property
    def name(self) -> str:
        """Its name, and its log's."""
        return self.process.name

    def code(self) -> int | None:
        """Its exit code; None while it lives."""
        try:
            self.process.check()
        except WorkerDied:
            return self.process.wait(10)
        return None

    def ready(self) -> bool:
        """Whether it is ready; False where it has ended."""
        with contextlib.suppress(WorkerDied):
            return self.process.ready()
        return False


class Crew:
    """Workers on one rig. Give them to `watch` for as long as they are to be replaced."""

    def __init__(self, rig: Rig, settings: dict[str, Any], stack: contextlib.ExitStack) -> None:
        """`stack` stops what still runs at the end."""
        self._rig, self._settings, self._stack = rig, settings, stack
        self.members: list[Member] = []  # that live and are not told to go
        self._leaving: list[Member] = []
        self.kills: list[Kill] = []  # by SIGKILL and by records
        self.by_poison: list[str] = []  # the record of each kill
        self.violations: list[str] = []
        self.started = 0

    def start(self) -> Member:
        """One worker more."""
        self.started += 1
        process = self._stack.enter_context(self._rig.worker(f"worker-{self.started:03}", **self._settings))
        member = Member(process, time.time())
        self.members.append(member)
        return member

    async def pick(self, share: float) -> Member:
        """One of the ready workers; `share` in [0, 1) says which. Waits until there is one. Raises TimeoutError."""
        async with asyncio.timeout(180):
            while True:
                members = list(self.members)
                ready = await asyncio.gather(*(asyncio.to_thread(member.ready) for member in members))
                found = [member for member, is_ready in zip(members, ready, strict=True) if is_ready]
                found = [member for member in found if member in self.members]
                if found:
                    return found[int(share * len(found))]
                await asyncio.sleep(_LOOK_SECONDS)

    async def ready(self, member: Member) -> None:
        """Returns when it is ready, or has ended. Raises TimeoutError."""
        await until(lambda: member.ready() or member.code() is not None, 180)

    async def kill(self, member: Member) -> None:
        """SIGKILL."""
        member.killed = True
        member.seen_alive = time.time()
        member.process.signal(signal.SIGKILL)
        await until(lambda: member.code() is not None)
        self._look_at(member)

    def term(self, member: Member) -> Member:
        """SIGTERM; `watch` sees how it ends."""
        if member in self.members:  # it lives
            member.told_to_go = True
            self.members.remove(member)
            self._leaving.append(member)
            member.process.signal(signal.SIGTERM)
        return member

    async def gone(self, member: Member) -> None:
        """Returns when one that was told to go has ended. Raises TimeoutError."""
        await until(lambda: member not in self._leaving, 120)

    async def watch(self) -> None:
        """Notes how workers end, and replaces those that nobody told to. For ever."""
        while True:
            for member in [*self.members, *self._leaving]:
                if not member.killed and self._look_at(member) and not member.told_to_go:
                    self.start()
            await asyncio.sleep(_LOOK_SECONDS)  # a process's end gives no event to wait for

    async def dismiss(self) -> None:
        """SIGTERM to all; returns when they have ended."""
        for member in list(self.members):
            self.term(member)
        await until(lambda: not self._leaving, 120)

    def logs(self) -> list[WorkerLog]:
        """The logs of all workers that ever were."""
        return [read_log(path) for path in sorted(self._rig.folder.glob("worker-*.log"))]

    def _look_at(self, member: Member) -> bool:
        """Whether it has ended; then it is noted how."""
        code, now = member.code(), time.time()
        if code is None:
            member.seen_alive = now
            return False
        (self._leaving if member in self._leaving else self.members).remove(member)
        log = read_log(member.process.log)
        if member.killed or (code == -signal.SIGKILL and log.poison):
            what = f"SIGKILL of {member.name}" if member.killed else f"{log.poison} killed {member.name}"
            self.kills.append(Kill(what, member.seen_alive, now, log.assigned, log.assigned_at))
            if log.poison and not member.killed:
                self.by_poison.append(log.poison)
        elif not self._ended_well(member, code, log):
            wanted = "after SIGTERM" if member.told_to_go else "though nobody told it to"
            self.violations.append(f"{member.name} ended with {code} {wanted}:\n{member.process.tail()}")
        return True

    def _ended_well(self, member: Member, code: int, log: WorkerLog) -> bool:
        early = code == -signal.SIGTERM and not log.lines  # Python itself was still starting
        return member.told_to_go and (code == ExitCode.OK or early)
