"""A pipeline without Kafka and guards: the test says what is judged, and what the broker has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from aiokafka import TopicPartition

from tests.stream.test_outcome_counts import verdict
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label
from worker.moderation.moderator import Moderator
from worker.moderation.request import Request, tell
from worker.observability.health import Health, Phase
from worker.settings import Settings
from worker.stream.dead_letters.stop import DeadLetterStop
from worker.stream.live_policies import LivePolicies
from worker.stream.orderly_stop import OrderlyStop
from worker.stream.outcome_counts import OutcomeCounts
from worker.stream.pipeline import Pipeline
from worker.stream.poison.isolation import Isolation
from worker.stream.poison.journal import traces_of
from worker.stream.publisher import Publisher
from worker.stream.start import Started
from worker.stream.work import Work

A, B = TopicPartition("chat.events", 0), TopicPartition("chat.events", 1)
EVENT = b'{"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": "hi"}]}'


def record(offset: int, *, partition: int = 0, key: bytes | None = None, value: bytes = EVENT) -> Any:
    return PlainRecord("chat.events", partition, offset, 1_700_000_000_000, key, value)


class Judges:
    """In the moderator's place: requests wait until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.offsets: list[int] = []  # of these, in their order
        self.given_up: list[int] = []
        self.held: set[int] = set()  # of those that a thread is at, the offsets

    def judge_all(self, requests: Sequence[Request]) -> None:
        self.asked += requests
        self.offsets += [request.record.offset for request in requests]

    def give_up(self, request: Request) -> None:
        self.given_up.append(request.record.offset)
        request.held = request.record.offset in self.held


class Broker:
    """In the publisher's place."""

    def __init__(self) -> None:
        self.sent: list[Work] = []
        self.raises: Exception | None = None

    def send(self, work: Work) -> None:
        if self.raises is not None:
            raise self.raises
        self.sent.append(work)

    @property
    def offsets(self) -> list[int]:
        return [work.offset for work in self.sent]


class Rig:
    """A pipeline and its surroundings."""

    def __init__(self, journal: Path) -> None:
        settings = Settings(journal_dir=journal)
        self.health, self.failures = Health(120, 15), list[BaseException]()
        self.health.phase = Phase.RUNNING
        stop = DeadLetterStop(settings, OrderlyStop())
        self.pipeline = Pipeline(settings, self.health, stop, self.failures.append)
        self.judges, self.broker, self.isolation = Judges(), Broker(), Isolation.of(settings)
        parts = Started(
            cast("Moderator", self.judges),
            LivePolicies(settings),
            cast("Any", None),
            cast("Publisher", self.broker),
            self.isolation,
        )
        self.pipeline.join(parts, OutcomeCounts(()))
        self.pipeline.progress.assign([A, B])

    def take(self, *records: Any) -> None:
        """A fetch."""
        fetched: dict[TopicPartition, list[Any]] = {}
        for each in records:
            fetched.setdefault(TopicPartition(each.topic, each.partition), []).append(each)
        self.pipeline.take(fetched)

    def asked(self, *offsets: int) -> list[Request]:
        asked = list(zip(self.judges.offsets, self.judges.asked, strict=True))
        return [request for offset in offsets for at, request in asked if at == offset]

    def start(self, *offsets: int) -> None:
        """A guard has begun with these."""
        requests = self.asked(*offsets)
        for request in requests:
            request.started = True
        self.pipeline.started(requests)

    def answer(self, *offsets: int, error: BaseException | None = None) -> None:
        """Verdicts on these, or what keeps them from having one."""
        requests = self.asked(*offsets)
        for request in requests:
            if error is None:
                request.verdict = verdict(label=Label.SAFE)
            else:
                request.fail(error)
        tell(requests)

    def judge(self, *offsets: int) -> None:
        self.start(*offsets)
        self.answer(*offsets)

    def confirm(self, error: BaseException | None = None) -> None:
        """The broker has everything that was sent, or has not."""
        sent, self.broker.sent = self.broker.sent, []
        self.pipeline.settled(sent, error)

    @property
    def ends(self) -> dict[int, int]:
        return {each.partition: end for each, end in self.pipeline.progress.to_commit().items()}


def named_in(directory: Path) -> set[int]:
    """The offsets in the one journal."""
    (path,) = directory.iterdir()
    return {trace.name.offset for trace in traces_of(path.read_bytes())}
