"""What a reading of the dead-letter topic found."""

from collections import Counter
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord

from worker.contract.stored_letter import StoredLetter
from worker.stream.dead_letters.selection import Selection


@dataclass(slots=True)
class Tally:
    """Counts of its records."""

    by_cause: Counter[str] = field(default_factory=Counter)
    """Of the selected dead letters."""
    passed_over: int = 0
    """Dead letters that the filters left out."""
    without_headers: int = 0
    """Records that are no dead letters of ours."""

    def letter_of(self, record: ConsumerRecord, selection: Selection) -> StoredLetter | None:
        """The dead letter, where the record is one that is selected; counted in any case."""
        letter = StoredLetter.of(record)
        if letter is None:
            self.without_headers += 1
        elif not selection.takes(letter):
            self.passed_over += 1
        else:
            self.by_cause[letter.told.error_type] += 1
            return letter
        return None
