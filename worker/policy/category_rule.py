"""Category rule: when one category acts, and how."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from worker.contract.verdict import CATEGORY_KEY_PATTERN, Probability

Action = Literal["unsafe", "review", "ignore"]
Band = tuple[Probability, Probability]
# Checked by the policy, whose message says which keys there are.
CategoryKey = Annotated[str, WithJsonSchema({"type": "string", "pattern": CATEGORY_KEY_PATTERN})]

Reading = Literal["unsafe", "review", "ignore", "ambiguous"]


class Form(BaseModel):
    """Values as a person writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Bar:
    """From which P(unsafe) on a category that the guard names acts, and how."""

    action: Action
    threshold: float
    band: Band | None = None

    @property
    def speaks_from(self) -> float:
        """The smallest P(unsafe) at which the category changes a verdict."""
        return self.threshold if self.band is None else min(self.threshold, self.band[0])

    def reads(self, score: float) -> Reading | None:
        """What a window with this P(unsafe), in which the guard names the category, comes to; None: nothing."""
        if self.band is not None and self.band[0] <= score < self.band[1]:
            return "ambiguous"
        return self.action if score >= self.threshold else None


class CategoryRule(Form):
    """What one category does. What is not said is as the policy has it."""

    action: Action = "unsafe"
    """What the category makes of a verdict. `ignore` still reports it."""
    threshold: Probability | None = None
    """The smallest P(unsafe) at which the category acts where the guard names it. The policy's unsafe_threshold where
    absent."""
    review_band: Band | None = None
    """From and to (exclusive), in P(unsafe): the category goes to review between them. Where absent, the policy's; none
    with a threshold of its own."""

    def bar(self, usual: Bar) -> Bar:
        """The rule with what it leaves to the policy."""
        threshold = usual.threshold if self.threshold is None else self.threshold
        inherited = usual.band if self.threshold is None else None
        band = None if self.action == "ignore" else self.review_band or inherited
        return Bar(self.action, threshold, band)

    def check(self, key: str, usual_threshold: float) -> None:
        """Raises ValueError where the rule contradicts itself."""
        if self.action == "ignore" and self.review_band is not None:
            raise ValueError(f"categories.{key}: an ignored category has no review_band")
        threshold, name = self.threshold, f"categories.{key}.threshold"
        if threshold is None:
            threshold, name = usual_threshold, "unsafe_threshold"
        check_band(self.review_band, threshold, name, f"categories.{key}.")


def check_band(band: Band | None, threshold: float, name: str, place: str = "") -> None:
    """Raises ValueError where a higher score would be judged more mildly than a lower one."""
    if band is None:
        return
    if band[0] >= band[1]:
        raise ValueError(f"{place}review_band must be [from, to] with from < to")
    if not band[0] <= threshold <= band[1]:
        raise ValueError(
            f"{place}review_band [{band[0]:g}, {band[1]:g}] must hold {name} ({threshold:g}): "
            "else a higher score would be judged more mildly than a lower one"
        )
