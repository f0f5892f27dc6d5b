"""Policy: what a tenant wants judged and how strictly."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

import orjson
from pydantic import Field, field_validator, model_validator

from worker.contract.verdict import PolicyRef, Probability
from worker.policy.category_rule import Action, Band, Bar, CategoryKey, CategoryRule, Form, check_band
from worker.policy.taxonomy import CATEGORY_KEYS

JudgedRole = Literal["user", "assistant"]

_HASH_DIGITS: Final = 16
_ROLES: Final[tuple[JudgedRole, ...]] = ("user", "assistant")
# In every canonical form. Fields that came later are in it only where they differ from their default, so that a new
# release changes no policy's hash.
_ALWAYS: Final = frozenset(
    {
        *("name", "excluded_categories", "unsafe_threshold", "review_band"),
        *("prompt_attack_threshold", "prompt_attack_action"),
    }
)


class PolicyValues(Form):
    """What a policy says. The defaults are what the release's own code does: every category, the likelier answer."""

    excluded_categories: tuple[CategoryKey, ...] = ()
    """Category keys (S1-S14) that are never reported and never act."""
    excluded_mode: Literal["prompt", "filter"] = "prompt"
    """`prompt`: excluded categories are not asked for, as the release does it. `filter`: they are asked for and dropped
    from the answer."""
    unsafe_threshold: Probability = 0.5
    """The smallest P(unsafe) that makes a verdict unsafe. 0.5 is the release's greedy answer."""
    review_band: Band | None = None
    """From and to (exclusive), in P(unsafe), with unsafe_threshold in it: scores between them go to review instead of
    safe or unsafe."""
    categories: Mapping[CategoryKey, CategoryRule] = Field(
        default_factory=dict, json_schema_extra={"additionalProperties": False}
    )
    """Rules for single categories; what has none acts as the policy's own threshold and band say."""
    prompt_attack_threshold: Probability = 0.5
    """The smallest P(prompt attack) that counts as an attack."""
    prompt_attack_action: Action = "unsafe"
    """What a prompt attack makes of a verdict. `ignore` still reports it."""
    judged_roles: tuple[JudgedRole, ...] = Field(default=_ROLES, min_length=1)
    """Whose last messages are judged (tool messages are the user's). Others are safe with the reason
    `role_not_judged`."""
    images: Literal["judge", "review", "ignore"] = "judge"
    """`review`: judged, and a message with an image goes to review at least. `ignore`: nobody looks at images; such a
    message is judged by its text, with the reason `images_ignored`."""

    @field_validator("excluded_categories")
    @classmethod
    def _some_are_left(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        _known(keys)
        if len(set(keys)) == len(CATEGORY_KEYS):
            raise ValueError("all categories are excluded: nothing would be judged")
        return tuple(sorted(set(keys), key=CATEGORY_KEYS.index))

    @field_validator("categories")
    @classmethod
    def _rules_that_say_something(cls, rules: Mapping[str, CategoryRule]) -> Mapping[str, CategoryRule]:
        _known(tuple(rules))
        return {key: rule for key, rule in rules.items() if rule != CategoryRule()}

    @field_validator("judged_roles")
    @classmethod
    def _roles_in_order(cls, roles: tuple[JudgedRole, ...]) -> tuple[JudgedRole, ...]:
        return tuple(role for role in _ROLES if role in roles)

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyValues":
        check_band(self.review_band, self.unsafe_threshold, "unsafe_threshold")
        for key, rule in self.categories.items():
            if key in self.excluded_categories:
                raise ValueError(f"categories.{key} has a rule, and excluded_categories has {key}: only one can be")
            rule.check(key, self.unsafe_threshold)
        return self


class Policy(PolicyValues):
    """One named policy, whole: nothing of it is left to another one."""

    name: str = Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")
    """The policy's name: one line."""

    @cached_property
    def canonical(self) -> bytes:
        """All of the policy's values, its name among them, as one JSON object: the same bytes for equal policies."""
        said = self.model_dump(mode="json", include=set(_ALWAYS)) | self.model_dump(mode="json", exclude_defaults=True)
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def hash(self) -> str:
        """16 hex digits that change with any of the policy's values."""
        return hashlib.sha256(self.canonical).hexdigest()[:_HASH_DIGITS]

    @cached_property
    def ref(self) -> PolicyRef:
        """How verdicts name it."""
        return PolicyRef(self.name, self.hash)

    @cached_property
    def bars(self) -> dict[str, Bar]:
        """When each category that is not excluded acts, and how."""
        usual = Bar("unsafe", self.unsafe_threshold, self.review_band)
        return {
            key: self.categories[key].bar(usual) if key in self.categories else usual
            for key in CATEGORY_KEYS
            if key not in self.excluded_categories
        }

    @cached_property
    def categories_wanted_from(self) -> float:
        """The smallest P(unsafe) at which the violated categories matter to the decision."""
        return min(bar.speaks_from for bar in self.bars.values())

    @property
    def excluded_from_prompt(self) -> tuple[str, ...]:
        """The categories that Llama Guard is not asked for."""
        return self.excluded_categories if self.excluded_mode == "prompt" else ()

    @cached_property
    def judges_all(self) -> bool:
        """Whether every message is judged, with all that it holds, and by nothing but what the guards find."""
        return self.judged_roles == _ROLES and self.images == "judge"

    def __hash__(self) -> int:
        return hash(self.canonical)


def _known(keys: tuple[str, ...]) -> None:
    unknown = [key for key in keys if key not in CATEGORY_KEYS]
    if unknown:
        raise ValueError(f"unknown category keys {unknown}; known are S1 to S14")


DEFAULT_POLICY = Policy(name="default")
