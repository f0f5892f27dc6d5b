"""Dead letter: an input record that could not be judged, kept with its bytes and the cause."""

import contextlib
from dataclasses import dataclass

from worker.contract.errors import Unjudgeable
from worker.contract.headers import RESERVED, VALUE_LEFT_OUT, DeadLetterHeaders
from worker.contract.record import Headers, Record, header

_MOST_MESSAGE = 1000  # characters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be judged: its key, value and headers as they came, and the cause in further headers."""

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
            replay_count=str(_replays(record)),
        )
        kept = [(name, value) for name, value in record.headers if name not in RESERVED]
        return cls(record.value, [*kept, *own.to_kafka()], cause.error_type)

    def without_value(self) -> "DeadLetter":
        """The same with an empty value, for a record too large to be published again; its place is in the headers."""
        return DeadLetter(b"", [*self.headers, (VALUE_LEFT_OUT, b"true")], self.error_type)


def _replays(record: Record) -> int:
    count = header(record.headers, "moderation-replay-count")
    with contextlib.suppress(TypeError, ValueError):
        return max(0, int(count))  # type: ignore[arg-type]
    return 0
