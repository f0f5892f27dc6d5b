"""A dead letter as it lies in its topic: read back, to look at it or to send it to where it came from."""

from dataclasses import dataclass

from worker.contract.headers import RESERVED, VALUE_LEFT_OUT, DeadLetterHeaders
from worker.contract.record import Headers, Record


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One record of the dead-letter topic that has the headers of a dead letter."""

    record: Record
    """As it lies in the dead-letter topic: key and value are the original ones."""
    told: DeadLetterHeaders
    source_partition: int
    source_offset: int
    source_timestamp: int
    """Milliseconds since the epoch."""
    replays: int
    """How often it was replayed before."""

    @classmethod
    def of(cls, record: Record) -> "StoredLetter | None":
        """None where the headers of a dead letter are missing or make no sense: somebody else wrote it."""
        try:
            text = {name: value.decode() for name, value in record.headers if value is not None and name in RESERVED}
            told = DeadLetterHeaders.model_validate(text)
            numbers = (told.source_partition, told.source_offset, told.source_timestamp, told.replay_count)
            partition, offset, timestamp, replays = map(int, numbers)
        except ValueError:  # pydantic's ValidationError and UnicodeDecodeError are ones
            return None
        return cls(record, told, partition, offset, timestamp, replays) if replays >= 0 else None

    @property
    def size(self) -> int:
        """Bytes of the original key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.original_headers)
        return len(self.record.key or b"") + len(self.record.value or b"") + headers

    @property
    def has_original(self) -> bool:
        """Whether the original value is there: what was too large to be published again lost it."""
        return all(name != VALUE_LEFT_OUT for name, _ in self.record.headers)

    @property
    def original_headers(self) -> Headers:
        """The headers that the record came with."""
        return [(name, value) for name, value in self.record.headers if name not in RESERVED]

    def headers_to_replay(self) -> Headers:
        """The original headers, and the replay count raised by one."""
        return [*self.original_headers, ("moderation-replay-count", str(self.replays + 1).encode())]
