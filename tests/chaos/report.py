"""How a storm went, in words and figures."""

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.ledger import Ledger
from tests.chaos.plan import RESTARTS, Act, Form


@dataclass(slots=True)
class Report:
    """How a storm went."""

    form: Form
    seed: int
    seconds: float
    ledger: Ledger
    acts: Counter[Act]
    started: int  # workers
    kills_by_poison: Counter[str]
    aborted: int  # transactions
    left_of_history: int  # records, where the input was compacted
    lag: int
    halved: int  # batches for which the device had no memory, or that broke it
    violations: list[str] = field(default_factory=list)

    @property
    def restarts(self) -> int:
        """Workers killed, stopped or joined; not those that a record killed."""
        return sum(times for act, times in self.acts.items() if act in RESTARTS)

    def rows(self) -> list[tuple[str, str]]:
        """What is to be told, in words and figures."""
        ledger, out = self.ledger, self.ledger.outcomes
        twins = Counter((twin.explained_by or "nothing").split(" ")[0] for twin in ledger.twins)
        named = ", ".join(f"{times} {act}" for act, times in self.acts.items())
        return [
            ("seed", f"{self.seed}, {self.seconds:.0f} s"),
            ("acts", f"{named}; {self.started} workers started"),
            ("input records", f"{ledger.asked:,}"),
            ("answered", " + ".join(f"{out[kind]:,} {kind}" for kind in ("safe", "unsafe", "review", "dead_letter"))),
            ("dead letters", ", ".join(f"{times} {cause}" for cause, times in sorted(ledger.causes.items()))),
            ("lost", str(len(ledger.lost))),
            ("answers to nothing sent", str(len(ledger.unknown))),
            ("duplicates", f"{len(ledger.twins)}, by what explains them: {dict(twins)}"),
            ("order violations", str(len(ledger.disordered))),
            ("records that kill", f"{ledger.poisons} found out after {sorted(self.kills_by_poison.values())} kills"),
            ("batches halved", f"{self.halved:,}"),
            ("history", f"{self.aborted} transactions aborted, {self.left_of_history} records left by compaction"),
            ("lag at the end", str(self.lag)),
            ("violations", str(len(self.violations))),
        ]

    def __str__(self) -> str:
        lines = [f"{name:<24} {value}" for name, value in self.rows()]
        return "\n".join([f"-- {self.form.name}", *lines, *(f"VIOLATED: {each}" for each in self.violations)])
