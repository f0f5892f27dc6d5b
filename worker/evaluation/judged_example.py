"""A judged example: what a person says of it beside what the worker says; never its content."""

from pydantic import BaseModel, ConfigDict, Field

from worker.contract.verdict import Label, Reason, Verdict
from worker.evaluation.labelled_example import LabelledExample, TrueLabel

_TRANSIENT = frozenset({Reason.GUARD_ERROR, Reason.GUARD_UNAVAILABLE})


class JudgedExample(BaseModel):
    """A line of the results file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    place: str
    group: str
    label: TrueLabel | None = None
    categories: tuple[str, ...] = ()
    prompt_attack: bool | None = None
    label_source: str | None = None

    verdict: Label | None = None
    reasons: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    unsafe_score: float | None = None
    attack_score: float | None = None
    attack_found: bool = False
    category_scores: dict[str, float] = Field(default_factory=dict)
    complete: bool = True
    error: str | None = None  # why there is no verdict

    @classmethod
    def of(cls, example: LabelledExample, verdict: Verdict | None, error: str | None = None) -> "JudgedExample":
        """An example with its verdict, or why it has none."""
        said = {
            "id": example.id,
            "place": str(example.place),
            "group": example.group,
            "label": example.label,
            "categories": example.categories,
            "prompt_attack": example.prompt_attack,
            "label_source": example.label_source,
        }
        if verdict is None:
            return cls(**said, error=error)
        return cls(
            **said,
            verdict=verdict.label,
            reasons=tuple(reason.value for reason in verdict.reasons),
            found=verdict.violated_categories,
            unsafe_score=verdict.scores.unsafe,
            attack_score=verdict.scores.prompt_attack,
            attack_found=verdict.prompt_attack,
            category_scores=verdict.scores.categories,
            complete=verdict.coverage.complete,
        )

    @property
    def content_flagged(self) -> bool:
        """Whether Llama Guard's finding makes the content unsafe under the policy. A prompt attack does not: it is
        measured by itself."""
        return Reason.LLAMA_GUARD.value in self.reasons

    @property
    def in_review(self) -> bool:
        """Whether a person is asked."""
        return self.verdict is Label.REVIEW

    @property
    def is_final(self) -> bool:
        """False where a guard failed or was down: asked again, it may answer."""
        return not _TRANSIENT.intersection(self.reasons)
