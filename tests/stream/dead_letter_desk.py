"""A person at the dead letters: writes some, replays them, runs the commands."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from tests.stream.rig import Rig
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers
from worker.settings import Settings
from worker.stream.dead_letters.replay import Replay, ReplayOptions, ReplayResult
from worker.stream.dead_letters.selection import Selection

COUNT = "moderation-replay-count"
COMMAND = (sys.executable, "-m", "worker", "dead-letters")


@dataclass(frozen=True)
class InputRecord:
    topic: str
    value: bytes | None = b"not JSON"
    key: bytes | None = b"k"
    partition: int = 1
    offset: int = 5
    timestamp: int = 1_700_000_000_000
    headers: Headers = field(default_factory=lambda: [("own", b"1"), ("none", None)])


def ignore(*_: object) -> None:
    """What nobody wants to know."""


@dataclass
class Desk:
    """A person at the dead letters of a rig."""

    rig: Rig

    @property
    def settings(self) -> Settings:
        values = {"bootstrap_servers": self.rig.bootstrap, "input_topic": self.rig.input_topic, "group": self.rig.group}
        return Settings.model_validate({**values, **self.rig.outputs})

    async def put(self, *records: InputRecord, cause: str = "not_json", light: bool = False) -> None:
        """Writes their dead letters to four partitions in turn, as a worker does."""
        async with AIOKafkaProducer(bootstrap_servers=self.rig.bootstrap) as producer:
            for number, record in enumerate(records):
                letter = DeadLetter.of(record, Unjudgeable(cause, "no JSON", Stage.READ))
                letter = letter.smaller() if light else letter
                topic, headers = self.rig.outputs["dead_letter_topic"], list(letter.headers)
                await producer.send(topic, letter.value, letter.key, number % 4, headers=headers)

    async def put_other(self, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Writes a record that is none of ours."""
        async with AIOKafkaProducer(bootstrap_servers=self.rig.bootstrap) as producer:
            await producer.send_and_wait(self.rig.outputs["dead_letter_topic"], b"secret", headers=list(headers))

    def replaying(
        self, on_letter: Callable[..., Any] = ignore, on_progress: Callable[..., Any] = ignore, **options: Any
    ) -> Replay:
        chosen = {"selection": Selection(), "group": f"{self.rig.group}-replay", **options}
        return Replay(self.settings, ReplayOptions(**chosen), on_letter, on_progress)

    async def replay(self, **options: Any) -> ReplayResult:
        run = self.replaying(**options)
        await run.run()
        return run.result

    async def input(self, topic: str | None = None) -> list[ConsumerRecord]:
        """Everything in the input topic (or another one)."""
        name = topic or self.rig.input_topic
        async with AIOKafkaConsumer(bootstrap_servers=self.rig.bootstrap, auto_offset_reset="earliest") as consumer:
            partitions = [TopicPartition(name, each) for each in range(4)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            async with asyncio.timeout(60):
                while any([await consumer.position(each) < ends[each] for each in partitions]):
                    records += [each for found in (await consumer.getmany(timeout_ms=100)).values() for each in found]
        return records

    @property
    def environment(self) -> dict[str, str]:
        """Of a process with these settings."""
        rig = self.rig
        values = {"bootstrap_servers": rig.bootstrap, "input_topic": rig.input_topic, "group": rig.group}
        own = {f"MODERATION_{key.upper()}": value for key, value in {**values, **rig.outputs}.items()}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MODERATION_")}
        return {**inherited, **own, "COLUMNS": "200"}

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`moderation-worker dead-letters ...` as a process."""
        run = partial(subprocess.run, env=self.environment, capture_output=True, text=True, timeout=120)
        return await asyncio.to_thread(run, [*COMMAND, *arguments])
