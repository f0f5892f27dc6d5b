"""Live policies: the ones that act, and the loop that takes new ones when their file changes."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from worker.contract.chat_event import ChatEvent
from worker.observability import metrics
from worker.policy.errors import PolicyError
from worker.policy.policy import Policy
from worker.policy.reload import PolicyReload
from worker.policy.store import PolicyStore
from worker.settings import Settings

log = structlog.get_logger(__name__)

_FAULTS_KEPT: Final = 100

Tenants = tuple[str, ...]


class LivePolicies:
    """A worker's policies. An event keeps the policy that it got; the next one may get a new one."""

    for_event: Callable[[ChatEvent], Policy]
    """The policy of an event, as of `PolicyStore`."""
    store: PolicyStore
    """All of them."""
    named: Callable[[str], Policy | None]
    """The policy of a name, as of `PolicyStore`."""
    names: frozenset[str]
    """The first `metrics_tenants` names of policies, the default one among them: those that metrics may tell apart."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        """Reads the policies of the settings. Raises PolicyError. `now`: seconds since the epoch."""
        self._seconds, self._now = settings.policies_reload_seconds, now
        self._most_tenants = settings.metrics_tenants
        self._reload = PolicyReload(settings.policies_file) if settings.policies_file else None
        self._on_tenants: Callable[[Tenants], None] = lambda _tenants: None
        self._told: deque[str] = deque(maxlen=_FAULTS_KEPT)  # since the file was good
        self._loaded, self._refused = (metrics.POLICY_RELOADS.labels(outcome) for outcome in ("loaded", "refused"))
        self._take(self._reload.first() if self._reload else PolicyStore())

    @property
    def tenants(self) -> Tenants:
        """The first `metrics_tenants` tenants that have a policy: those that may be told apart."""
        return self._tenants

    def follow_tenants(self, tell: Callable[[Tenants], None]) -> None:
        """`tell` gets the first `metrics_tenants` tenants that have a policy: now, and when they change."""
        self._on_tenants = tell
        tell(self.tenants)

    async def often(self) -> None:
        """Looks at the file as often as the settings say."""
        while self._reload is not None and self._seconds:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def look(self) -> None:
        """Takes new policies where there are some. What cannot be used is said once, and the last good ones stay."""
        if self._reload is None:
            return
        try:
            policies = await asyncio.to_thread(self._reload.look)  # thousands of policies take a second to read
        except PolicyError as error:
            self._refuse(str(error))
            return
        if policies is not None:
            self._take(policies)
            self._loaded.inc()
            log.info("new policies act", policies=len(policies.names), tenants=len(policies.tenants))
        if self._reload.in_place:
            if self._told and policies is None:
                log.info("the policies file is as it was: what it says acts")
            self._told.clear()
            metrics.POLICIES_REFUSED.set(0)

    def _take(self, policies: PolicyStore) -> None:
        self.store, self.for_event, self.named = policies, policies.for_event, policies.named
        self._tenants = policies.tenants[: self._most_tenants]
        self.names = frozenset(policies.names[: self._most_tenants])
        metrics.POLICIES_LOADED.set(self._now())
        self._on_tenants(self._tenants)

    def _refuse(self, fault: str) -> None:
        metrics.POLICIES_REFUSED.set(1)
        if fault not in self._told:
            self._told.append(fault)
            self._refused.inc()
            log.error("new policies cannot be used, the last good ones stay", fault=fault)
