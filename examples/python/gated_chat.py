"""A chat with a language model in which nothing goes on unjudged: each prompt is judged before the model sees it, each
response before the user does.

`python gated_chat.py` talks on the terminal; --help has what is done where no verdict comes in time. Environment:
BOOTSTRAP_SERVERS, EVENTS_TOPIC, VERDICT_TOPICS (comma-separated).
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

BOOTSTRAP_SERVERS = os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092")
EVENTS_TOPIC = os.environ.get("EVENTS_TOPIC", "chat.events")
VERDICT_TOPICS = os.environ.get(
    "VERDICT_TOPICS", "moderation.verdicts.safe,moderation.verdicts.unsafe,moderation.verdicts.review"
)
log = logging.getLogger("gated_chat")

PATIENCE_SECONDS = 600.0  # after it a verdict that has not come is not waited for any more

Message = dict[str, str]  # role and content, as language models and chat events have them
Model = Callable[[Sequence[Message]], Awaitable[str]]


@dataclass(frozen=True)
class Verdict:
    """What the headers of a verdict tell."""

    label: str
    categories: str = ""  # "S1,S9"


class Moderator(Protocol):
    """Whom a chat asks."""

    async def verdict_on(self, conversation_id: str, messages: Sequence[Message]) -> Verdict:
        """On the last message. Raises TimeoutError where none comes, KafkaError where the question cannot be sent."""


class KafkaModerator:
    """Sends chat events, and has a future for each one that is not answered."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._waiting: dict[str, asyncio.Future[Verdict]] = {}  # by event id

    async def verdict_on(self, conversation_id: str, messages: Sequence[Message]) -> Verdict:
        event_id = str(uuid.uuid4())
        event = {"event_id": event_id, "conversation_id": conversation_id, "messages": list(messages)}
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting[event_id] = verdict  # before it is sent: a verdict may overtake the broker's confirmation
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # Its own key: verdicts of one key come in order, and a response must not wait for a late prompt.
                await self._producer.send_and_wait(self._topic, json.dumps(event).encode(), event_id.encode())
                return await verdict
        finally:
            del self._waiting[event_id]

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Answers the futures. A verdict that comes twice, or that is not ours, finds none."""
        async for record in consumer:
            headers = {name: (value or b"").decode() for name, value in record.headers}
            verdict = self._waiting.get(headers["ce_subject"])
            if verdict is not None and not verdict.done():
                verdict.set_result(Verdict(headers["moderation-label"], headers["moderation-categories"]))

    def close(self) -> None:
        """Nobody will answer any more."""
        for verdict in self._waiting.values():
            verdict.cancel()


@contextlib.asynccontextmanager
async def connected(
    bootstrap_servers: str, events_topic: str, verdict_topics: Sequence[str]
) -> AsyncIterator[KafkaModerator]:
    """A moderator that reads every verdict from now on. Raises ExceptionGroup where its consumer fails."""
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True) as producer,
        # No group: each instance of the chat must see the verdicts on its own events. Nothing is committed.
        AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="latest") as consumer,
        asyncio.TaskGroup() as tasks,
    ):
        partitions = [
            TopicPartition(topic, n) for topic in verdict_topics for n in await producer.partitions_for(topic)
        ]
        consumer.assign(partitions)
        for partition in partitions:
            await consumer.position(partition)  # known before the first question: no answer can be missed
        moderator = KafkaModerator(producer, events_topic)
        listening = tasks.create_task(moderator.listen(consumer))
        try:
            yield moderator
        finally:
            moderator.close()
            listening.cancel()


@dataclass(frozen=True)
class Rule:
    """What is done without a clear verdict.

    `block`: it does not go on. `allow`: it goes on; a verdict that comes later and says otherwise retracts it.
    `hold`: it waits until the verdict is there.
    """

    seconds: float = 2.0
    on_timeout: Literal["block", "allow", "hold"] = "block"
    on_review: Literal["block", "allow"] = "block"

    def objection(self, verdict: Verdict) -> str:
        """Why a message with this verdict does not go on; empty where it does."""
        if verdict.label == "safe" or (verdict.label == "review" and self.on_review == "allow"):
            return ""
        return f"{verdict.label} {verdict.categories}".strip()


@dataclass
class Turn:
    """A prompt and its response. `withheld` says why nothing is shown; empty: all is well."""

    prompt: str
    response: str = ""
    withheld: str = ""

    @property
    def messages(self) -> list[Message]:
        """What the model and the guards may know of it later."""
        if self.withheld:
            return []
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.response}]


async def echo(messages: Sequence[Message]) -> str:
    """The smallest language model. docs/clients.md has a real one."""
    return f"You said: {messages[-1]['content']}"


@dataclass
class Chat:
    """One conversation, a turn after the other. `late` is told of a turn when a verdict on it came after its time:
    take it back from the screen if it is withheld now."""

    moderator: Moderator
    model: Model = echo
    prompts: Rule = Rule()
    responses: Rule = Rule()
    late: Callable[[Turn], None] = lambda turn: None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    turns: list[Turn] = field(default_factory=list)
    _late: set[asyncio.Task[Verdict]] = field(default_factory=set)

    async def say(self, prompt: str) -> Turn:
        """A prompt's turn. Raises KafkaError where Kafka does not take the question, and what the model raises."""
        turn = Turn(prompt)
        asked = [message for earlier in self.turns for message in earlier.messages]
        asked.append({"role": "user", "content": prompt})
        await self._judge(turn, "prompt", asked, self.prompts)
        if not turn.withheld:
            turn.response = await self.model(asked)
            asked.append({"role": "assistant", "content": turn.response})
            await self._judge(turn, "response", asked, self.responses)
        self.turns.append(turn)
        return turn

    async def _judge(self, turn: Turn, what: str, messages: Sequence[Message], rule: Rule) -> None:
        asking = asyncio.create_task(self.moderator.verdict_on(self.id, tuple(messages)))
        in_time = rule.seconds if rule.on_timeout != "hold" else None
        try:
            await asyncio.wait({asking}, timeout=in_time)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if asking.done():
            try:
                self._object(turn, what, rule.objection(asking.result()))
            except TimeoutError:
                self._object(turn, what, "no verdict")
            return
        if rule.on_timeout == "block":
            self._object(turn, what, "no verdict in time")
        self._late.add(asking)  # the event loop itself would forget it
        asking.add_done_callback(lambda _: self._came_late(turn, what, rule, asking))

    def _came_late(self, turn: Turn, what: str, rule: Rule, asking: asyncio.Task[Verdict]) -> None:
        self._late.discard(asking)
        if asking.cancelled():
            return
        if cause := asking.exception():
            log.warning("a %s was never judged: %r", what, cause)
            return
        self._object(turn, what, rule.objection(asking.result()))
        self.late(turn)

    @staticmethod
    def _object(turn: Turn, what: str, why: str) -> None:
        if why:
            turn.withheld = f"{what}: {why}"


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A chat in which each prompt and each response is judged first.")
    for what in ("prompt", "response"):
        parser.add_argument(f"--{what}-seconds", type=float, default=2.0, help="how long a verdict is waited for")
        choices = ("block", "allow", "hold")
        parser.add_argument(f"--on-{what}-timeout", choices=choices, default="block", help="what is done without it")
    parser.add_argument(
        "--on-review", choices=("block", "allow"), default="block", help="what a verdict of review does"
    )
    return parser.parse_args(arguments)


async def _lines() -> AsyncIterator[str]:
    """Standard input, a terminal or a pipe, without holding the event loop up."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line.decode().strip()


def _show(turn: Turn) -> None:
    print(f"[withheld: {turn.withheld}]" if turn.withheld else turn.response, flush=True)


def _show_late(turn: Turn) -> None:
    print(f"[a late verdict on {turn.prompt!r}: {turn.withheld or 'safe'}]", flush=True)


async def main() -> None:
    """Talks on the terminal until it ends."""
    options = _options()
    prompts = Rule(options.prompt_seconds, options.on_prompt_timeout, options.on_review)
    responses = Rule(options.response_seconds, options.on_response_timeout, options.on_review)
    talking = asyncio.current_task()
    assert talking is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, talking.cancel)
    async with connected(BOOTSTRAP_SERVERS, EVENTS_TOPIC, VERDICT_TOPICS.split(",")) as moderator:
        chat = Chat(moderator, prompts=prompts, responses=responses, late=_show_late)
        async for line in _lines():
            _show(await chat.say(line))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main())
