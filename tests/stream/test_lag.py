"""Consumer lag: of our own partitions, from their finished prefixes to their ends."""

from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from tests.stream.works import taken
from worker.stream.lag import Lag
from worker.stream.progress import Progress

A, B = TopicPartition("t", 901), TopicPartition("t", 902)


def shown(partition: TopicPartition) -> float | None:
    return REGISTRY.get_sample_value("moderation_consumer_lag", {"partition": str(partition.partition)})


class Brokers:
    """Where partitions end."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {A: 100, B: 50}
        self.asked: list[list[TopicPartition]] = []

    async def __call__(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked.append(list(partitions))
        return self.ends


async def test_it_is_what_is_not_answered_yet_of_our_own_partitions() -> None:
    progress: Progress[TopicPartition] = Progress()
    brokers = Brokers()
    lag = Lag(brokers, progress)
    await lag.now()
    assert brokers.asked == []
    progress.assign([A, B])
    first = taken(progress, A, 10)
    await lag.now()
    assert (shown(A), shown(B)) == (90, None), "nothing is known of B yet: no number is better than a wrong one"
    progress.done(first)
    progress.moved_to(B, 50)
    await lag.now()
    assert (shown(A), shown(B)) == (89, 0)
    brokers.ends = {A: 200, B: 40}  # a moment older than our position
    await lag.now()
    assert (shown(A), shown(B)) == (189, 0)


async def test_an_answer_of_the_brokers_is_told() -> None:
    progress: Progress[TopicPartition] = Progress()
    progress.assign([A])
    brokers, answers = Brokers(), []
    lag = Lag(brokers, progress, lambda: answers.append(True))
    await lag.now()
    assert len(answers) == 1
    brokers.ends = {}
    await lag.now()
    assert len(answers) == 1, "none came in time"


async def test_partitions_that_went_are_told_by_their_new_owner() -> None:
    progress: Progress[TopicPartition] = Progress()
    brokers = Brokers()
    lag = Lag(brokers, progress)
    progress.assign([A, B])
    for partition in (A, B):
        progress.moved_to(partition, 0)
    await lag.now()
    assert (shown(A), shown(B)) == (100, 50)
    progress.assign([B])
    lag.keep(progress.owned)
    assert (shown(A), shown(B)) == (None, 50)
    await lag.now()  # an answer that came late names A, too
    assert shown(A) is None
