"""Policy: what a tenant wants judged and how strictly."""

import hashlib
from functools import cached_property
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worker.policy.taxonomy import CATEGORY_KEYS

Probability = Annotated[float, Field(ge=0, le=1)]
_HASH_DIGITS = 16


class Policy(BaseModel):
    """One named policy. The defaults are what the release's own code does: every category, the likelier answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    excluded_categories: tuple[str, ...] = ()
    """Category keys (S1-S14) that are not asked for and never reported."""
    unsafe_threshold: Probability = 0.5
    """The smallest P(unsafe) that makes a verdict unsafe. 0.5 is the release's greedy answer."""
    review_band: tuple[Probability, Probability] | None = None
    """From and to (exclusive), in P(unsafe): scores between them go to review instead of safe or unsafe."""
    prompt_attack_threshold: Probability = 0.5
    """The smallest P(prompt attack) that counts as an attack."""
    prompt_attack_action: Literal["unsafe", "review", "ignore"] = "unsafe"
    """What a prompt attack makes of a verdict. `ignore` still reports it."""

    @field_validator("excluded_categories")
    @classmethod
    def _known_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [key for key in keys if key not in CATEGORY_KEYS]
        if unknown:
            raise ValueError(f"unknown category keys {unknown}; known are S1 to S14")
        if len(set(keys)) == len(CATEGORY_KEYS):
            raise ValueError("all categories are excluded: nothing would be judged")
        return tuple(sorted(set(keys), key=CATEGORY_KEYS.index))

    @model_validator(mode="after")
    def _band_in_order(self) -> "Policy":
        if self.review_band and self.review_band[0] >= self.review_band[1]:
            raise ValueError("review_band must be [from, to] with from < to")
        return self

    @cached_property
    def canonical(self) -> bytes:
        """All of the policy's values, its name among them, as one JSON object: the same bytes for equal policies."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    @cached_property
    def hash(self) -> str:
        """16 hex digits that change with any of the policy's values."""
        return hashlib.sha256(self.canonical).hexdigest()[:_HASH_DIGITS]

    @property
    def categories_wanted_from(self) -> float:
        """The smallest P(unsafe) at which the violated categories matter to the decision."""
        return min(self.unsafe_threshold, self.review_band[0] if self.review_band else 1.0)


DEFAULT_POLICY = Policy(name="default")
