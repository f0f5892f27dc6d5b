"""A record as it stands in a topic, and a cause, for the tests of dead letters."""

from dataclasses import dataclass, field

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import Headers

CAUSE = Unjudgeable("invalid_event", "messages: must not be empty", Stage.READ)


@dataclass(frozen=True)
class StoredRecord:
    topic: str = "chat.events"
    partition: int = 3
    offset: int = 812
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"k"
    value: bytes | None = b"\xff{"
    headers: Headers = field(default_factory=tuple)
