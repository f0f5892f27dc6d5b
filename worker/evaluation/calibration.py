"""Calibration: thresholds for a target, and what they reach on examples held out."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.contract.verdict import Reason
from worker.evaluation.content_table import of_category
from worker.evaluation.curves import ScoredLabel
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.measures import ATTACKS, content_question
from worker.evaluation.threshold import Reached, Target, Unreachable, threshold_for
from worker.policy.policy import Policy
from worker.policy.taxonomy import CATEGORIES

_BITS = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """One threshold: what it is, what it reaches, or why there is none."""

    setting: str  # its key in the policy: unsafe_threshold, categories.S9.threshold, ...
    title: str
    before: Reached | None  # the policy's own threshold, on the same held-out examples
    now: Reached | None = None
    calibrated_on: int = 0  # examples that the target is about
    held_out: int = 0
    too_small: str | None = None  # why the data cannot carry the claim
    unreachable: str | None = None  # why there is no threshold

    @property
    def usable(self) -> bool:
        """Whether the threshold can be claimed to reach the target."""
        return self.now is not None and self.too_small is None


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Chooses thresholds on one part of the examples, and measures them on the rest."""

    target: Target
    base: Policy
    known_from: float  # P(unsafe) from which the judging has named categories
    held_out_share: float = 0.5
    seed: int = 0

    def whole(self, rows: Sequence[JudgedExample]) -> Iterator[Calibration]:
        """The thresholds of all content, and of prompt attacks, where there are labels for them."""
        content = [row for row in rows if content_question().is_answered(row)]
        if content:
            scored = [(row.id, (_acting_score(row), row.label == "unsafe")) for row in content]
            yield self.one("unsafe_threshold", "content", scored, self.base.unsafe_threshold)
        yield from self.attacks(rows)

    def attacks(self, rows: Sequence[JudgedExample]) -> Iterator[Calibration]:
        """The threshold of prompt attacks, where there are labels for them."""
        labelled = [row for row in rows if ATTACKS.is_answered(row)]
        if labelled:
            scored = [(row.id, (row.attack_score or 0.0, bool(row.prompt_attack))) for row in labelled]
            yield self.one("prompt_attack_threshold", "prompt attacks", scored, self.base.prompt_attack_threshold)

    def categories(self, rows: Sequence[JudgedExample]) -> Iterator[Calibration]:
        """The threshold of each category that acts and has unsafe examples, then that of prompt attacks.

        A category's score is P(unsafe) where the guard names the category, else 0: its threshold acts on nothing else.
        """
        content = [row for row in rows if content_question().is_answered(row)]
        for key, bar in self.base.bars.items():
            members = of_category(content, key)
            if bar.action == "ignore" or not any(row.label == "unsafe" for row in members):
                continue
            scored = [
                (row.id, ((row.unsafe_score or 0.0) if key in row.found else 0.0, row.label == "unsafe"))
                for row in members
            ]
            title = f"{key} {CATEGORIES[key]}"
            yield self.one(f"categories.{key}.threshold", title, scored, bar.threshold, self.known_from)
        yield from self.attacks(rows)

    def one(
        self, setting: str, title: str, scored: Sequence[tuple[str, ScoredLabel]], before: float, lowest: float = 0.0
    ) -> Calibration:
        """One threshold, from scores by example id. `before`: the policy's own; `lowest`: the lowest to choose."""
        parts: tuple[list[ScoredLabel], list[ScoredLabel]] = ([], [])
        for name, each in scored:
            parts[is_held_out(name, self.held_out_share, self.seed)].append(each)
        chosen_on, held_out = parts
        about = self.target.kind == "recall"
        counts = [sum(unsafe == about for _, unsafe in part) for part in parts]
        reached_before = Reached.by(before, held_out)
        try:
            threshold = threshold_for(chosen_on, self.target, lowest)
        except Unreachable as cause:
            return Calibration(setting, title, reached_before, None, counts[0], counts[1], unreachable=str(cause))
        now, too_small = Reached.by(threshold, held_out), self._too_small(counts[1])
        return Calibration(setting, title, reached_before, now, counts[0], counts[1], too_small=too_small)

    def _too_small(self, held_out: int) -> str | None:
        needed = self.target.examples_needed
        if held_out >= needed:
            return None
        kind, twice = self.target.kind_of_examples, 2 * self.target.error_rate
        what = "a false positive rate" if self.target.kind == "fpr" else "a share of misses"
        return (
            f"{held_out} held-out {kind} examples cannot tell {self.target} from {what} of {twice:.3g}: {needed} are "
            f"needed, so about {round(needed / self.held_out_share)} {kind} examples in all"
        )


def is_held_out(name: str, share: float, seed: int) -> bool:
    """Whether an example is kept for measuring: by its id alone, so that more data moves none to the other side."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=_BITS // 8).digest()
    return int.from_bytes(digest) / (1 << _BITS) < share


def _acting_score(row: JudgedExample) -> float:
    """P(unsafe), or 0 where nothing but what the policy excludes or ignores was found: no threshold acts on that."""
    silent = {Reason.EXCLUDED_ONLY.value, Reason.IGNORED_ONLY.value}
    return 0.0 if silent.intersection(row.reasons) else row.unsafe_score or 0.0
