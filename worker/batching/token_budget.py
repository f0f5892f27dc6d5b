"""What a batch costs: its rows are padded to the longest, so its cost is longest x rows."""

from collections.abc import Collection
from typing import Final

# Smaller batches hardly take less memory: what is missing then is not theirs. A single check always goes.
_LEAST_SHARE: Final = 16
_STEP: Final = 16  # a step up adds this fraction of the present budget: 12 steps undo a halving
# Filled batches before a step up, doubled by each out-of-memory: some minutes of a busy device undo the first one.
_PATIENCE: Final = 128
_MOST_PATIENCE: Final = 4096


def padded_tokens(lengths: Collection[int]) -> int:
    """The cost of a batch of checks of these lengths, in tokens; 0 without checks."""
    return max(lengths, default=0) * len(lengths)


class TokenBudget:
    """Most padded tokens of one batch: what was set, or less where the device has no memory for that.

    An out-of-memory takes it to half of what failed; many filled batches that pass take it up again in small steps.
    Each out-of-memory doubles the batches before a step, so that a device with less memory than the setting supposes
    is tried every hour or so, not every minute; this is forgotten when the setting itself has passed as many times.
    """

    def __init__(self, setting: int) -> None:
        self.setting = setting
        self.tokens = setting  # the present budget
        self._least = max(1, setting // _LEAST_SHARE)
        self._patience = _PATIENCE
        self._filled = 0

    def holds(self, longest: int, rows: int) -> bool:
        """Whether a batch of `rows` checks, the longest of `longest` tokens, fits. A single check always does."""
        return rows == 1 or longest * rows <= self.tokens

    def ran_out(self, tokens: int) -> None:
        """The device had no memory for a batch of several checks with this many padded tokens."""
        lower = max(tokens // 2, self._least)
        if lower >= self.tokens:  # it was made under an earlier budget, as the second of two in the air: nothing new
            return
        self.tokens = lower
        self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self._filled = 0

    def passed(self, tokens: int) -> None:
        """The device judged a batch of this many padded tokens at once."""
        if 2 * tokens <= self.tokens:  # where no further row of the longest's length fits, at least half is filled
            return
        self._filled += 1
        if self._filled < self._patience:
            return
        self._filled = 0
        if self.tokens == self.setting:
            self._patience = _PATIENCE
        else:
            self.tokens = min(self.tokens + max(self.tokens // _STEP, 1), self.setting)
