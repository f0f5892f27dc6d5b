"""One record on its way, and everything that is kept about it meanwhile."""

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from worker.stream.in_flight import InFlight
from worker.stream.key_order import Turn
from worker.stream.progress import Entry
from worker.stream.suspects import Case


class Work:
    """A record and its places: in its partition's progress, among its key's events, in the journal. Times are
    time.monotonic's."""

    __slots__ = ("arrived", "case", "decided", "entry", "record", "size", "turn")

    def __init__(
        self, record: ConsumerRecord, entry: Entry[TopicPartition], turn: Turn, case: Case, arrived: float
    ) -> None:
        self.record, self.entry, self.turn, self.case, self.arrived = record, entry, turn, case, arrived
        self.size = InFlight.size_of(record)
        self.decided = arrived
