"""Dead letter: an input record that could not be judged, kept with its bytes and the cause."""

import contextlib
from dataclasses import dataclass, replace

from worker.contract.errors import Unjudgeable
from worker.contract.headers import RESERVED, VALUE_LEFT_OUT, DeadLetterHeaders
from worker.contract.record import Headers, Record, header

_MOST_MESSAGE = 1000  # characters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be judged: its key, value and headers as they came, and the cause in further headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    error_type: str

    @classmethod
    def of(cls, record: Record, cause: Unjudgeable) -> "DeadLetter":
        """The dead letter of a record."""
        own = DeadLetterHeaders(
            error_type=cause.error_type,
            error_message=cause.message[:_MOST_MESSAGE],
            error_stage=cause.stage.value,
            source_topic=record.topic,
            source_partition=str(record.partition),
            source_offset=str(record.offset),
            source_timestamp=str(record.timestamp),
            replay_count=str(replay_count(record.headers)),
        )
        kept = [(name, value) for name, value in record.headers if name not in RESERVED]
        return cls(record.key, record.value, [*kept, *own.to_kafka()], cause.error_type)

    def smaller(self) -> "DeadLetter":
        """The same with less in it, for a record too large to be published again: first without its value, then with
        the cause and the record's place alone. Raises ValueError where nothing is left to leave out."""
        left_out = (VALUE_LEFT_OUT, b"true")
        if left_out not in self.headers:
            return replace(self, value=b"", headers=[*self.headers, left_out])
        own = [(name, value) for name, value in self.headers if name in RESERVED]
        if len(own) == len(self.headers):
            raise ValueError("nothing is left to leave out")
        return replace(self, key=None, headers=own)


def replay_count(headers: Headers) -> int:
    """How often a record was replayed from the dead letters, as its header says; 0 where that is no number."""
    count = header(headers, "moderation-replay-count")
    with contextlib.suppress(TypeError, ValueError):
        return max(0, int(count))  # type: ignore[arg-type]
    return 0
