"""The example clients on a real Kafka with a worker: each verdict is enforced exactly once, by its headers alone."""

import asyncio
import json
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from examples.python.gated_chat import Chat, Message, Rule, Turn, connected
from tests.examples.clients import EXAMPLES, Client, Programs, go, java, python
from tests.stream.rig import Outcomes, Rig, chat_event, new_rig
from worker.contract.record import header
from worker.local.broker import LocalKafka
from worker.local.workers import WorkerProcess

TEXTS = ("hello", "how do I make a bomb?", "a BREAK", *(f'it\'s "{n}" é 😀' for n in range(5)))
ACTIONS = {"safe": "show", "unsafe": "remove", "review": "hold"}
PATIENT = Rule(seconds=240)


@pytest.fixture(scope="module")
def rig(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Topics that all examples share."""
    return new_rig(kafka, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def held(rig: Rig) -> Path:
    """While this file is there, texts with WAIT-IN-PREPARATION get no verdict."""
    return rig.folder / "held"


@pytest.fixture(scope="module", autouse=True)
def worker(rig: Rig, held: Path) -> Iterator[WorkerProcess]:
    """One worker for all of them."""
    with rig.worker(FAKE_WAIT_WHILE=held) as running:
        yield running


@pytest.mark.parametrize("built", [python, java, go], ids=lambda built: built.__name__)
async def test_a_client_enforces_each_verdict_once(rig: Rig, built: Callable[[], Awaitable[Client]]) -> None:
    client, programs, conversation = await built(), Programs(rig), uuid.uuid4().hex
    last = {f"{conversation}-safe": "all is well", f"{conversation}-unsafe": "a bomb"}
    complete = asyncio.Event()
    group = f"enforcement-{conversation}"
    async with asyncio.TaskGroup() as tasks, rig.outcomes() as outcomes:
        enforcing = tasks.create_task(
            programs.lines(client, group, lambda said: last.keys() <= {each["event_id"] for each in said}, complete)
        )
        sent = [json.loads(line) for line in await programs.run(*client.produce, conversation, *TEXTS)]
        event_ids = [each["event_id"] for each in sent]
        verdicts = await _verdicts_on(event_ids, outcomes)
        assert {record.key for record in verdicts} == {conversation.encode()}
        # Verdicts on these come after the copies, in the same partitions: a client that has them has seen the copies.
        await _copy_twice(rig, [_first(verdicts, label) for label in ("safe", "unsafe")])
        await rig.send([(conversation.encode(), chat_event(text, event_id=name)) for name, text in last.items()])
        await _all_committed(rig, programs.verdict_topics, group)
        complete.set()
    said = enforcing.result()
    assert max(Counter(each["verdict_id"] for each in said).values()) == 1
    of_event = {each["event_id"]: each for each in said}
    assert set(event_ids) | last.keys() <= of_event.keys()
    for record in verdicts:
        label = _text(record, "moderation-label")
        assert of_event[_text(record, "ce_subject")] == {
            "verdict_id": _text(record, "ce_id"),
            "event_id": _text(record, "ce_subject"),
            "label": label,
            "categories": ["S9"] if label == "unsafe" else [],
            "action": ACTIONS[label],
            "topic": rig.outputs[f"{label}_topic"],
        }
    labels = [of_event[event_id]["label"] for event_id in event_ids]
    assert labels == ["safe", "unsafe", "review", *["safe"] * 5]


async def _verdicts_on(event_ids: list[str], outcomes: Outcomes) -> list[ConsumerRecord]:
    def found() -> list[ConsumerRecord]:
        return [each for each in outcomes.records if _text(each, "ce_subject") in event_ids]

    await outcomes.until(lambda _: len(found()) == len(event_ids), seconds=240)
    return found()


async def _copy_twice(rig: Rig, verdicts: list[ConsumerRecord]) -> None:
    """As after a crash of the worker between the verdict and its commit."""
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
        for each in [*verdicts, *verdicts]:
            await producer.send_and_wait(each.topic, each.value, each.key, each.partition, headers=list(each.headers))


def _first(verdicts: list[ConsumerRecord], label: str) -> ConsumerRecord:
    return next(each for each in verdicts if _text(each, "moderation-label") == label)


async def _all_committed(rig: Rig, topics: list[str], group: str) -> None:
    """Returns when the group has committed every verdict."""
    async with (
        asyncio.timeout(240),
        AIOKafkaConsumer(bootstrap_servers=rig.bootstrap, group_id=group, enable_auto_commit=False) as consumer,
    ):
        partitions = [TopicPartition(topic, n) for topic in topics for n in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, end in ends.items():
            while (await consumer.committed(partition) or 0) < end:  # noqa: ASYNC110  # another process commits
                await asyncio.sleep(0.05)


def _text(record: ConsumerRecord, name: str) -> str:
    return (header(record.headers, name) or b"").decode()


async def test_a_gated_chat_asks_the_worker(rig: Rig, held: Path) -> None:
    heard: list[list[str]] = []

    async def model(messages: list[Message]) -> str:
        heard.append([each["content"] for each in messages])
        return "well, a bomb ..." if messages[-1]["content"] == "go on" else "fine"

    came_late: asyncio.Queue[Turn] = asyncio.Queue()
    async with connected(rig.bootstrap, rig.input_topic, Programs(rig).verdict_topics) as moderator:
        chat = Chat(moderator, model, PATIENT, PATIENT, came_late.put_nowait)
        turns = [await chat.say(prompt) for prompt in ("hello", "how do I make a bomb?", "go on", "a BREAK", "so?")]
        assert [turn.withheld for turn in turns] == [
            "",
            "prompt: unsafe S9",
            "response: unsafe S9",
            "prompt: review",
            "",
        ]
        assert heard == [["hello"], ["hello", "fine", "go on"], ["hello", "fine", "so?"]]
        await asyncio.to_thread(held.touch)
        chat.prompts = Rule(seconds=0.01, on_timeout="allow")
        turn = await chat.say("a bomb, WAIT-IN-PREPARATION")
        assert (turn.response, turn.withheld) == ("fine", ""), (
            "no verdict on the prompt, and the policy lets it through"
        )
        await asyncio.to_thread(held.unlink)
        async with asyncio.timeout(240):
            assert await came_late.get() is turn
        assert turn.withheld == "prompt: unsafe S9"


async def test_the_chat_on_a_terminal(rig: Rig) -> None:
    options = ("--prompt-seconds=240", "--on-response-timeout=hold")
    command = (sys.executable, str(EXAMPLES / "python/gated_chat.py"), *options)
    said = await Programs(rig).run(*command, stdin="hello\na bomb\né 😀\n".encode())
    assert said == ["You said: hello", "[withheld: prompt: unsafe S9]", "You said: é 😀"]
