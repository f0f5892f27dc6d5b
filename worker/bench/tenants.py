"""Many tenants with exclusions of their own against one tenant: the same events, the same guards, in one run."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from statistics import median
from typing import Any, Final

from worker.bench.device_busy import Load, sample_events
from worker.contract.chat_event import ChatEvent
from worker.contract.record import PlainRecord
from worker.guards.guard import Guard
from worker.guards.loading import load_guards
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.observability import metrics
from worker.policy.policy import Policy
from worker.policy.store import PolicyStore
from worker.policy.taxonomy import CATEGORY_KEYS
from worker.settings import STAND_IN, Settings

_IN_FLIGHT: Final = 1024  # as the worker's setting
_A_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class TenantsResult:
    """What came of it: medians of the rounds. CPU time, so that others on the machine count for nothing."""

    tenants: int
    events: int
    rounds: int
    one_tenant: float  # seconds of CPU an event
    prompt: float  # many tenants whose exclusions are not asked for
    filtered: float  # many tenants whose exclusions are asked for and dropped
    ratio_prompt: float  # throughput / that of one tenant: medians over the rounds
    ratio_filtered: float
    prefix_cache_bytes: float  # used at the end


class TenantsBench:
    """The stand-in guards, and three sets of policies for the same tenants."""

    def __init__(self, tenants: int, events: int, prefix_cache_bytes: int | None = None) -> None:
        """`prefix_cache_bytes`: the worker's setting where absent."""
        values: dict[str, Any] = {"llama_guard_model": STAND_IN, "prompt_guard_model": STAND_IN, "device": "cpu"}
        values |= {"torch_threads": 1}  # others would spin while they wait, which counts as CPU time
        given = {} if prefix_cache_bytes is None else {"prefix_cache_bytes": prefix_cache_bytes}
        self._settings: Settings = Settings.model_validate({**values, **given, "verdict_cache_bytes": 0})
        self._guards: Sequence[Guard] = load_guards(self._settings)
        both_roles = sample_events(Load(events=3 * events), random.Random(0))
        sampled = [event for event in both_roles if event.messages[-1].role == "user"][:events]
        self._events = [
            event.model_copy(update={"tenant": f"tenant-{number % tenants}"}) for number, event in enumerate(sampled)
        ]
        self._tenants = tenants
        exclusions = list(islice(_exclusions(), tenants))
        self._stores = {
            "one": PolicyStore(),
            "prompt": _store(exclusions, "prompt"),
            "filter": _store(exclusions, "filter"),
        }

    def run(self, rounds: int, say: Callable[[str], None] = lambda line: None) -> TenantsResult:
        """Measures. `say` gets a line before each step."""
        say("warming up: each policy's prefix is computed once in a worker's life")
        for store in self._stores.values():
            self._warm_up(store)
        found: dict[str, list[float]] = {name: [] for name in self._stores}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name, store in self._stores.items():
                found[name].append(asyncio.run(self._judge(store, self._events)) / len(self._events))
        ratios = {
            name: median(one / other for one, other in zip(found["one"], found[name], strict=True)) for name in found
        }
        return TenantsResult(
            tenants=self._tenants,
            events=len(self._events),
            rounds=rounds,
            one_tenant=median(found["one"]),
            prompt=median(found["prompt"]),
            filtered=median(found["filter"]),
            ratio_prompt=ratios["prompt"],
            ratio_filtered=ratios["filter"],
            prefix_cache_bytes=metrics.PREFIX_CACHE_BYTES._value.get(),
        )

    def _warm_up(self, store: PolicyStore) -> None:
        """An event for each policy, a few at a time: so many prefixes are computed with a batch."""
        policies = {policy.excluded_from_prompt: policy for policy in map(store.of_tenant, store.tenants or [None])}
        shortest = min(self._events, key=lambda event: len(event.messages[-1].text))
        for guard in self._guards:
            checks = [check for policy in policies.values() for check in guard.prepare(shortest, policy).checks]
            for start in range(0, len(checks), _A_FEW):
                guard.judge(checks[start : start + _A_FEW])

    async def _judge(self, store: PolicyStore, events: Sequence[ChatEvent]) -> float:
        """Seconds of CPU, of all threads."""
        moderator = Moderator(self._guards, ModeratorOptions.of(self._settings))
        room = asyncio.Semaphore(_IN_FLIGHT)

        async def judge(number: int, event: ChatEvent) -> None:
            try:
                record = PlainRecord("bench", 0, number)
                await moderator.judge(Request.about(event, store.for_event(event), record, time.monotonic()))
            finally:
                room.release()

        began = time.process_time()
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, event in enumerate(events):
                    await room.acquire()
                    tasks.create_task(judge(number, event))
        finally:
            moderator.close()
        return time.process_time() - began


def _exclusions() -> "product[tuple[bool, ...]]":
    """Every choice of categories but the empty one; S14 is always asked for."""
    choices = product((False, True), repeat=len(CATEGORY_KEYS) - 1)
    next(choices)
    return choices


def _store(exclusions: Sequence[Sequence[bool]], mode: str) -> PolicyStore:
    policies = {
        f"policy-{number}": Policy(
            name=f"policy-{number}",
            excluded_categories=[key for key, excluded in zip(CATEGORY_KEYS, choice, strict=False) if excluded],
            excluded_mode=mode,
        )
        for number, choice in enumerate(exclusions)
    }
    return PolicyStore(policies, {f"tenant-{number}": f"policy-{number}" for number in range(len(exclusions))})
