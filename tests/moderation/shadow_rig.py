"""A moderator with fake guards, its shadow, and what the shadow publishes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import FakeGuard, ScoreOf, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.contract.record import PlainRecord, Record
from worker.contract.verdict import Label, Verdict
from worker.guards.guard import Preparation
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.moderation.shadow import Shadow
from worker.observability import metrics
from worker.policy.policy import DEFAULT_POLICY, Policy

OTHER_PROMPT = Policy(name="other", excluded_categories=("S9",))  # asks the guards another question


class AskedGuard(FakeGuard):
    """Knows under which policies it prepared, and can be held while it judges texts with "wait"."""

    def __init__(self, score_of: ScoreOf) -> None:
        super().__init__("llama_guard", score_of)
        self.policies: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()  # it has come to the gate

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        self.policies.append(policy.name)
        return super().prepare(event, policy)

    def judge(self, checks: Any) -> Any:
        if any("wait" in check.payload for check in checks):
            self.held.set()
            assert self.gate.wait(60)
        return super().judge(checks)

    @property
    def texts(self) -> list[str]:
        """All texts that it judged, in their order."""
        return [text for batch in self.batches for text in batch]


@dataclass
class Rig:
    """The shadow and its surroundings."""

    guard: AskedGuard
    moderator: Moderator
    policy: Policy | None = None
    published: list[tuple[Label, Verdict]] = field(default_factory=list)
    named: set[int] = field(default_factory=set)  # offsets with which something is done now
    named_when_lost: list[set[int]] = field(default_factory=list)
    publishing: asyncio.Event = field(default_factory=asyncio.Event)
    publish_raises: Exception | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)
    shadow: Shadow = field(init=False)

    async def publish(self, verdict: Verdict, record: Record, main: Label) -> None:
        """As a topic that may be slow, or away."""
        await self.publishing.wait()
        if self.publish_raises is not None:
            raise self.publish_raises
        assert record.key == b"k"
        self.published.append((main, verdict))
        self.came.set()

    @contextmanager
    def naming(self, record: Record) -> Iterator[None]:
        self.named.add(record.offset)
        try:
            yield
        finally:
            self.named.discard(record.offset)

    async def judge(self, number: int, text: Any = "hi", policy: Policy = DEFAULT_POLICY, **row: Any) -> Verdict:
        """The main verdict on the event at this offset."""
        record = PlainRecord("chat.events", 0, number, 1_700_000_000_000, b"k", row.get("value", b"{}"))
        return await self.moderator.judge(Request.about(event(text), policy, record, 0.0))

    async def until(self, count: int) -> list[tuple[Label, Verdict]]:
        """What was published, once there is so much of it."""
        async with asyncio.timeout(60):
            while len(self.published) < count:
                self.came.clear()
                await self.came.wait()
        return self.published


def event(content: Any) -> ChatEvent:
    messages = [{"role": "user", "content": content}]
    return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": messages})


@asynccontextmanager
async def shadow_rig(
    policy: Policy | None, score_of: ScoreOf = lambda _text: 0.0, *, share: float = 1.0, cache: int = 0, **how: Any
) -> AsyncIterator[Rig]:
    """The rig, ended in the end."""
    guard = AskedGuard(score_of)
    budget = {"llama_guard": 10_000, "prompt_guard": 10_000}
    options = ModeratorOptions(budget, batch_wait=0.0, verdict_cache_bytes=cache, **how.pop("options", {}))
    moderator = Moderator([guard, fake_prompt_guard()], options)
    rig = Rig(guard, moderator, policy)
    rig.publishing.set()
    rig.shadow = Shadow(
        moderator,
        lambda: rig.policy,
        share,
        rig.publish,
        naming=rig.naming,
        on_device_lost=lambda _error: rig.named_when_lost.append(set(rig.named)),
        **how,
    )
    try:
        yield rig
    finally:
        guard.gate.set()
        rig.shadow.drop()
        moderator.close()


def dropped(reason: str) -> float:
    return metrics.SHADOW_DROPPED.labels(reason).value


def failed(stage: str) -> float:
    return metrics.SHADOW_ERRORS.labels(stage).value
