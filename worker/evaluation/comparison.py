"""Two runs on the same examples: what differs, by how much, and which examples changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.evaluation.content_table import RELEASE_ROWS, ContentTable
from worker.evaluation.estimate import Estimate, correlation_of, difference
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.labelled_example import DataUnusable
from worker.evaluation.measures import ATTACKS, NAMES, Counts, Measures, Question
from worker.evaluation.results_file import Results, RunHeader

_MOST_CHANGED = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """An example that the two runs answer differently."""

    id: str
    place: str
    group: str
    kind: str  # content, or prompt attack
    truth: bool  # whether it is unsafe, or an attack
    before: float | None  # scores
    now: float | None
    better: bool  # right now, wrong before


@dataclass(frozen=True, slots=True)
class Comparison:
    """This run against another: differences are this minus the other."""

    other: RunHeader
    shared: int  # examples that both have answered, with the same label
    only_here: int
    only_there: int
    left_out: int  # shared, but without an answer in both, or with another label
    differences: dict[str, dict[str, Estimate | None]]  # table row -> measure -> difference
    became_right: int
    became_wrong: int
    changed: list[Change]  # the first thousand, those that became wrong first

    def significant(self, row: str, measure: str) -> bool:
        """Whether the interval of a difference excludes none."""
        found = self.differences[row][measure]
        return found is not None and not found.low <= 0 <= found.high


def compare(now: Mapping[str, JudgedExample], before: Results, content: Question) -> Comparison:
    """The comparison on the examples that both runs have. Raises DataUnusable where there are none."""
    shared = [(row, before.rows[key]) for key, row in now.items() if key in before.rows]
    asked = [_Asked.of(shared, content, "content"), _Asked.of(shared, ATTACKS, "prompt attack")]
    answered = {new.id for each in asked for new, _ in each.pairs}
    if not answered:
        raise DataUnusable("the two runs share no example with the same label: there is nothing to compare")
    changed = [change for each in asked for change in each.changes()]
    return Comparison(
        other=before.header,
        shared=len(answered),
        only_here=len(now) - len(shared),
        only_there=len(before.rows) - len(shared),
        left_out=len(shared) - len(answered),
        differences={**_content_differences(asked[0]), **_attack_differences(asked[1])},
        became_right=sum(each.better for each in changed),
        became_wrong=sum(not each.better for each in changed),
        changed=sorted(changed, key=lambda each: each.better)[:_MOST_CHANGED],
    )


Pairs = Sequence[tuple[JudgedExample, JudgedExample]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The pairs (this run's, the other's) in which both answer a question about the same truth."""

    kind: str
    question: Question
    pairs: Pairs

    @classmethod
    def of(cls, shared: Pairs, question: Question, kind: str) -> "_Asked":
        answered = [(new, old) for new, old in shared if question.is_answered(new) and question.is_answered(old)]
        return cls(kind, question, [(a, b) for a, b in answered if question.truth(a) == question.truth(b)])

    def changes(self) -> list[Change]:
        question = self.question
        return [
            Change(
                id=new.id,
                place=new.place,
                group=new.group,
                kind=self.kind,
                truth=bool(question.truth(new)),
                before=question.score(old),
                now=question.score(new),
                better=question.flagged(new) == question.truth(new),
            )
            for new, old in self.pairs
            if question.flagged(new) != question.flagged(old)
        ]

    def correlations(self) -> dict[str, float]:
        """How alike the runs answer, of each measure's own examples. For precision and F1, which rest on examples of
        both kinds, none is taken: their intervals are wider than need be, never too narrow."""
        of_truth: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
        for new, old in self.pairs:
            of_truth[bool(self.question.truth(new))].append((self.question.flagged(new), self.question.flagged(old)))
        recall, fpr = (max(0.0, correlation_of(of_truth[truth])) for truth in (True, False))
        return {"recall": recall, "false_positive_rate": fpr, "f1": 0.0, "precision": 0.0}


def _content_differences(asked: _Asked) -> dict[str, dict[str, Estimate | None]]:
    # The other run's rows take this one's groups and categories, which may have been mended since.
    mended = [old.model_copy(update={"group": new.group, "categories": new.categories}) for new, old in asked.pairs]
    flagged, correlations = asked.question.flagged, asked.correlations()
    now, before = _rows(ContentTable([new for new, _ in asked.pairs], flagged)), _rows(ContentTable(mended, flagged))
    return {name: _row(now[name], before[name], correlations) for name in now}


def _attack_differences(asked: _Asked) -> dict[str, dict[str, Estimate | None]]:
    if not asked.pairs:
        return {}
    sides = ([pair[side] for pair in asked.pairs] for side in (0, 1))
    now, before = (Measures.of(Counts.of(rows, ATTACKS.flagged, lambda row: bool(row.prompt_attack))) for rows in sides)
    return {"Prompt attacks": _row(now, before, asked.correlations())}


def _rows(table: ContentTable) -> dict[str, Measures]:
    if not table.size:
        return {}
    release = {RELEASE_ROWS[group]: each for group, each in table.release().items()}
    return {"All examples": table.overall(), **release, **table.groups(), **table.categories()}


def _row(now: Measures, before: Measures, correlations: Mapping[str, float]) -> dict[str, Estimate | None]:
    return {name: difference(now.named(name), before.named(name), correlations[name]) for name in NAMES}
