"""A storm: a Kafka of its own, workers that are killed, stopped and joined in the middle of their work, and the
books."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka.structs import ConsumerRecord

from tests.chaos.crew import Crew
from tests.chaos.events import HISTORY_SHARE, POISON, Event, Outcome, storm_events
from tests.chaos.feed import COMPACTED, Sender, Transactions, asked_of, sender
from tests.chaos.ledger import Answer, Kill, settle
from tests.chaos.logs import Excuses, unexplained
from tests.chaos.plan import Act, Form, Step, plan
from tests.chaos.report import Report
from tests.stream.rig import Outcomes, Rig, new_rig
from worker.contract.record import header
from worker.local.broker import Say, silent
from worker.local.jvm_broker import JvmBroker

# Several batches in the air in each worker, and work in flight for each act to hit.
SETTINGS: dict[str, Any] = {
    "FAKE_DELAY": "0.01",
    "max_in_flight_events": 200,
    "llama_guard_batch_tokens": 1024,
    "prompt_guard_batch_tokens": 2048,
}
_QUICK = {"session_timeout_seconds": 10}  # how long the group waits for a killed member
# A broker or worker that only stood still for some seconds must not be taken for one that was killed.
_BROKER = {"log.cleaner.backoff.ms": "500", "broker.session.timeout.ms": "10000"}
_AHEAD = 2_000  # most events that wait for the workers
_WAITING = 1_000  # events that a step finds waiting, at most
_STILL_SECONDS = 180.0  # without one more answered event the storm is given up
_BOOKS_SECONDS = 600.0  # for the reading of all that came out
_AFTER_OUTAGE_SECONDS = 30.0  # until all have found the broker again


def storm(form: Form, seed: int, folder: Path, say: Say = silent) -> Report:
    """Runs one and settles its books. `folder` takes logs and journals. Raises KafkaUnavailable."""
    with JvmBroker(properties=_BROKER) as broker:
        config = COMPACTED if form.compacted else {}
        rig = new_rig(broker, folder, partitions=form.partitions, output_partitions=4, input_config=config)
        with contextlib.ExitStack() as stack:
            crew = Crew(rig, {**SETTINGS, **(_QUICK if form.kills else {})}, stack)
            return asyncio.run(_Run(form, seed, rig, broker, crew, say).run())


class _Run:
    """One storm on its way."""

    def __init__(self, form: Form, seed: int, rig: Rig, broker: JvmBroker, crew: Crew, say: Say) -> None:
        self._form, self._seed, self._rig, self._broker, self._crew, self._say = form, seed, rig, broker, crew, say
        self._events = list(storm_events(form, seed))
        self._answered: set[UUID] = set()
        self._more = asyncio.Event()  # some were answered since it was cleared
        self._acts: Counter[Act] = Counter()
        self._outages: list[Kill] = []  # of the broker
        self._left = 0  # of the history
        self._due: float = 0  # the events after which the next step comes

    async def run(self) -> Report:
        """From the first event to the books."""
        began = time.monotonic()
        async with sender(self._rig, self._form, self._seed) as sending, self._rig.outcomes() as outcomes:
            later = await self._write_history(sending)
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(each) for each in (self._read(outcomes), self._crew.watch())]
                background.append(group.create_task(sending.send(later, self._room)))
                try:
                    await self._blow(background[-1])
                except TimeoutError as error:
                    self._crew.violations.append(f"it stood still with {len(self._answered)} answered: {error}")
                finally:
                    await self._crew.dismiss()
                    for task in background:
                        task.cancel()
        report = await self._settle(sending)
        report.seconds = time.monotonic() - began
        return report

    async def _write_history(self, sending: Sender) -> list[Event]:
        """What is still to be sent when the workers have started."""
        if not isinstance(sending, Transactions) or not self._form.compacted:
            return self._events
        self._say("the history is written and compacted")
        size = int(HISTORY_SHARE * len(self._events))
        self._left = await sending.write_history(self._events[:size])
        return self._events[size:]

    # -- the storm ----------------------------------------------------------------------------------------------------

    async def _blow(self, sending: "asyncio.Task[None]") -> None:
        for _ in range(self._form.workers):
            self._crew.start()
        for step in plan(self._form, self._seed):
            await self._until_due(int(step.at * self._share))
            self._say(f"{len(self._answered):,} answered: {step.act}")
            await self._do(step)
            self._acts[step.act] += 1
        self._due = math.inf
        self._more.set()
        await sending
        self._say(f"{len(self._answered):,} answered: all is sent")
        needed = (await asked_of(self._rig, self._by_number)).keys()
        await self._until(lambda: needed <= self._answered)
        await self._rig.no_lag()

    @property
    def _share(self) -> float:
        """Of the events, those that come while the workers run: the places of the steps are meant among these."""
        return 1 - HISTORY_SHARE if self._form.compacted else 1

    @property
    def _by_number(self) -> dict[int, Event]:
        return {event.number: event for event in self._events}

    async def _do(self, step: Step) -> None:
        crew = self._crew
        match step.act:
            case Act.KILL:
                await crew.kill(await crew.pick(step.pick))
                crew.start()
            case Act.TERM:
                crew.term(await crew.pick(step.pick))
                crew.start()
            case Act.LEAVE:
                crew.term(await crew.pick(step.pick))
            case Act.JOIN:
                crew.start()
            case Act.ROLL:
                oldest = crew.members[0]
                await crew.ready(crew.start())
                await crew.gone(crew.term(oldest))
            case Act.BOUNCE:
                await self._bounce(step.seconds)

    async def _bounce(self, seconds: float) -> None:
        began = time.time()
        self._outages.append(Kill("broker", began, math.inf))
        await asyncio.to_thread(self._broker.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._broker.start)
        self._outages[-1] = Kill("broker", began, time.time() + _AFTER_OUTAGE_SECONDS)

    # -- how far it is ------------------------------------------------------------------------------------------------

    async def _read(self, outcomes: Outcomes) -> None:
        while True:
            await outcomes.read()
            before = len(self._answered)
            self._answered.update(map(outcomes.id_of, outcomes.records))
            outcomes.records.clear()
            if len(self._answered) > before:
                self._more.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Returns when it holds, looked at whenever more is answered. Raises TimeoutError where no more is."""
        while not condition():
            self._more.clear()
            async with asyncio.timeout(_STILL_SECONDS):
                await self._more.wait()

    async def _until_due(self, events: int) -> None:
        """Returns when so many are answered, besides the history."""
        self._due = events
        self._more.set()
        await self._until(lambda: len(self._answered) >= self._left + events)

    async def _room(self, events: int) -> None:
        """What is sent waits for the steps, so that there is work in flight for each of them."""
        while events > len(self._answered) + _AHEAD or events > self._due + _WAITING:
            self._more.clear()
            await self._more.wait()

    # -- the books ----------------------------------------------------------------------------------------------------

    async def _settle(self, sending: Sender) -> Report:
        crew = self._crew
        asked = sending.asked | await asked_of(self._rig, self._by_number)
        ledger = settle(asked.values(), await self._answers(), [*crew.kills, *self._outages])
        lag = sum((await self._rig.lag()).values())
        excuses = Excuses(
            crew.kills,
            self._outages,
            {(each.partition, each.offset) for each in asked.values() if each.wanted == POISON},
        )
        logs = crew.logs()
        errors = [f"unexplained error line: {line}" for line in unexplained(logs, excuses)]
        violations = [*ledger.violations(), *crew.violations, *errors]
        if lag:
            violations.append(f"{lag} offsets are not committed")
        if missing := self._by_number.keys() - {each.number for each in asked.values()}:
            violations.append(f"{len(missing)} events were never sent")
        return Report(
            self._form,
            self._seed,
            0.0,
            ledger,
            self._acts,
            crew.started,
            Counter(crew.by_poison),
            sending.aborts,
            self._left,
            lag,
            sum(log.halved for log in logs),
            violations,
        )

    async def _answers(self) -> list[Answer]:
        """All output records."""
        answers: list[Answer] = []
        async with self._rig.outcomes() as outcomes, asyncio.timeout(_BOOKS_SECONDS):
            ends = await outcomes.consumer.end_offsets(outcomes.consumer.assignment())
            while any([await outcomes.consumer.position(each) < end for each, end in ends.items()]):
                await outcomes.read()
                answers += [_answer_of(outcomes, record) for record in outcomes.records]
                outcomes.records.clear()
        return answers


def _answer_of(outcomes: Outcomes, record: ConsumerRecord) -> Answer:
    cause = (header(record.headers, "moderation-error-type") or b"").decode()
    return Answer(
        outcomes.id_of(record),
        record.key,
        record.topic,
        record.partition,
        record.offset,
        record.timestamp / 1000,
        Outcome(outcomes.name_of[record.topic], cause),
    )
