"""Verdict cache: judgements by content key, the least recently used ones leave first. Pure: no clock, no Kafka."""

import marshal
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from worker.contract.verdict import Coverage, Label, Reason
from worker.guards.guard import Fault
from worker.moderation.decision import Decision
from worker.observability import metrics

# What an entry takes besides the bytes of its key and its value: two Python objects, and its place in the dictionary,
# which grows by doubling. A test measures it.
_ENTRY_BYTES: Final = 2 * sys.getsizeof(b"") + 160

_SAFE: Final = Label.SAFE

_FAULTS: Final = frozenset(Reason(fault.value) for fault in Fault)


@dataclass(slots=True)
class Judgement:
    """What follows from content, policy and models alone: all of a verdict that another event's verdict may share."""

    decision: Decision
    coverage: Coverage

    @property
    def reusable(self) -> bool:
        """Whether it may answer identical content. Review may not: a person shall see each case, and a guard that
        failed is asked again."""
        reasons = self.decision.reasons
        return not reasons or (self.decision.label is not Label.REVIEW and _FAULTS.isdisjoint(reasons))


class VerdictCache:
    """Reusable judgements, up to a number of bytes. Holds digests of contents, never contents.

    Judgements are kept as bytes: they take a quarter of what the objects do, their size is known, and the garbage
    collector need not look at hundreds of thousands of objects while events wait. `marshal` writes them in a fifth of
    the time that JSON would take; they never leave the process.
    """

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: for keys, judgements and what it takes to keep them, together."""
        self._most_bytes = most_bytes
        self._judgements: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0  # taken now
        metrics.VERDICT_CACHE_BYTES.follow(lambda: self.bytes)
        metrics.VERDICT_CACHE_ENTRIES.follow(lambda: len(self._judgements))

    def __len__(self) -> int:
        return len(self._judgements)

    def get(self, key: bytes) -> Judgement | None:
        """The judgement on the content with this key; None where there is none."""
        kept = self._judgements.get(key)
        if kept is None:
            return None
        self._judgements.move_to_end(key)
        return _loaded(kept)

    def put(self, key: bytes, judgement: Judgement) -> None:
        """Keeps a judgement; one that is not reusable, or larger than the whole cache, is not kept."""
        if not judgement.reusable:
            return
        kept, judgements = _dumped(judgement), self._judgements
        size = _bytes_of(key, kept)
        if size > self._most_bytes:
            return
        if (replaced := judgements.pop(key, None)) is not None:
            size -= _bytes_of(key, replaced)
        judgements[key] = kept
        self.bytes += size
        while self.bytes > self._most_bytes:
            self.bytes -= _bytes_of(*judgements.popitem(last=False))


def _dumped(judgement: Judgement) -> bytes:
    decision = judgement.decision
    coverage = tuple(vars(judgement.coverage).values())
    scores = (decision.unsafe_score, decision.attack_score)
    found = decision.reasons or decision.prompt_attack or decision.violated_categories
    if decision.label is _SAFE and not found:  # as most are
        return marshal.dumps((coverage, *scores))
    label, reasons = decision.label.value, [reason.value for reason in decision.reasons]
    said = (label, reasons, decision.violated_categories, decision.prompt_attack, dict(decision.category_scores))
    return marshal.dumps((coverage, *scores, *said))


def _loaded(kept: bytes) -> Judgement:
    coverage, unsafe_score, attack_score, *said = marshal.loads(kept)  # noqa: S302  # our own bytes
    label, reasons, categories, attack, scores = said or (_SAFE, (), (), False, {})
    reasons = tuple(map(Reason, reasons))
    decision = Decision(Label(label), reasons, categories, attack, unsafe_score, attack_score, scores)
    return Judgement(decision, Coverage(*coverage))


def _bytes_of(key: bytes, kept: bytes) -> int:
    return len(key) + len(kept) + _ENTRY_BYTES
