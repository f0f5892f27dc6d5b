"""What a batch costs: its rows are padded to the longest, so its cost is longest x rows."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBudget:
    """Most padded tokens of one batch."""

    tokens: int

    def holds(self, longest: int, rows: int) -> bool:
        """Whether a batch of `rows` checks, the longest of `longest` tokens, fits. A single check always does."""
        return rows == 1 or longest * rows <= self.tokens
