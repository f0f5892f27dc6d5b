"""When too much is suddenly bad: how many dead letters in a row, or among the last outcomes. Pure: no Kafka, no clock
(the window is one of outcomes: a quiet topic is judged like a busy one)."""

from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that was passed. `str()` is a sentence without its full stop."""

    setting: str
    """The setting whose limit it is."""
    limit: float
    dead_letters: int
    outcomes: int
    """The outcomes that the dead letters are among."""
    causes: tuple[tuple[str, int], ...]
    """Error type and how often, the most frequent first."""

    def __str__(self) -> str:
        causes = ", ".join(f"{cause} {times}" for cause, times in self.causes)
        return (
            f"{self.dead_letters} of the last {self.outcomes} outcomes are dead letters ({causes}), more than "
            f"{self.setting} allows ({self.limit:g})"
        )


class DeadLetterLimits:
    """Watches the outcomes as they are confirmed."""

    def __init__(self, *, consecutive: int, share: float, window: int) -> None:
        """`consecutive`: most dead letters in a row; `share`: most of them among the last `window` outcomes, from 0 to
        1, looked at once there are so many. 0 switches a limit off."""
        self._most_consecutive, self._most_share, self._window_size = consecutive, share, window
        self._run: Counter[str] = Counter()  # the causes since the last verdict
        self._run_length = 0
        self._window: deque[str | None] = deque()
        self._bad = 0  # dead letters in the window

    @property
    def in_a_row(self) -> int:
        """Dead letters since the last verdict."""
        return self._run_length

    def saw(self, cause: str) -> Exceeded | None:
        """A dead letter was confirmed. What it exceeded."""
        in_a_row, in_window = self._saw_in_a_row(cause), self._saw_in_window(cause)  # both see every outcome
        return in_a_row or in_window

    def saw_verdicts(self, count: int) -> Exceeded | None:
        """So many verdicts were confirmed, one after the other. What they exceeded: the window may be full now."""
        if count and self._run_length:
            self._run.clear()
            self._run_length = 0
        if not count or not self._most_share:
            return None
        exceeded = None
        most = self._most_share * self._window_size
        while count and (len(self._window) < self._window_size or self._bad > most):
            exceeded = self._saw_in_window(None) or exceeded
            count -= 1
        self._window.extend([None] * count)  # each of them makes a full window's share no larger
        for _ in range(len(self._window) - self._window_size):
            self._bad -= self._window.popleft() is not None
        return exceeded

    def _saw_in_a_row(self, cause: str) -> Exceeded | None:
        self._run[cause] += 1
        self._run_length += 1
        if not 0 < self._most_consecutive < self._run_length:
            return None
        length = self._run_length
        return Exceeded(
            "dead_letter_limit_consecutive", self._most_consecutive, length, length, tuple(self._run.most_common())
        )

    def _saw_in_window(self, cause: str | None) -> Exceeded | None:
        if not self._most_share:
            return None
        self._window.append(cause)
        self._bad += cause is not None
        if len(self._window) > self._window_size:
            self._bad -= self._window.popleft() is not None
        if len(self._window) < self._window_size or self._bad <= self._most_share * self._window_size:
            return None
        causes = Counter(each for each in self._window if each is not None)
        return Exceeded(
            "dead_letter_limit_share", self._most_share, self._bad, self._window_size, tuple(causes.most_common())
        )
