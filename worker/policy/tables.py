"""Tables: policies as a person writes them, with a base that they start from, and the policies that come of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from worker.policy.category_rule import CategoryRule
from worker.policy.errors import PolicyFault, in_words, near
from worker.policy.policy import DEFAULT_POLICY, Policy, PolicyValues

_MOST_BASES: Final = 16  # below one policy
MOST_HINTS: Final = 10  # looking for what was meant takes a while
_KEYS: Final = frozenset({*PolicyValues.model_fields, *CategoryRule.model_fields, "base"})

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One `[policies.<name>]`."""

    path: Path
    values: Values


class Tables:
    """All tables, by name. A policy is its table over its base's, and that over its own base's, down to the release's
    values."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._values: dict[str, Values | None] = {}  # with the base's below them; None: something is wrong, and told
        self.policies: dict[str, Policy] = {}
        """The sound ones."""
        self.faults: list[PolicyFault] = []
        """What is wrong with the others; what one has from its base is told of the base alone."""
        for name in tables:
            self._resolve(name)

    def _resolve(self, name: str) -> None:
        chain = self._chain(name)
        below: Values | None = {}
        for each in reversed(chain):
            if each not in self._values:
                self._values[each] = None if below is None else self._sound(each, below)
            below = self._values[each]

    def _chain(self, name: str) -> list[str]:
        """The policy, its base, its base's base ... up to one that is resolved, or that has no base."""
        chain = [name]
        while chain[-1] not in self._values:
            base = self._tables[chain[-1]].values.get("base")
            if base is None or (base == DEFAULT_POLICY.name and base not in self._tables):
                break
            if words := self._lost(chain, base):
                self._refuse(chain[-1], f"policies.{chain[-1]}.base: {words}")
                break
            chain.append(base)
        return chain

    def _lost(self, chain: list[str], base: Any) -> str | None:
        """Why a chain cannot go on to this base."""
        if not isinstance(base, str):
            return "must be the name of a policy"
        if base in chain:
            return f"a circle, {' -> '.join([*chain[chain.index(base) :], base])}"
        if base not in self._tables:
            hint = (
                near(base, [each for each in self._tables if each not in chain])
                if len(self.faults) < MOST_HINTS
                else ""
            )
            return f"no policy is named {base!r}{hint}"
        return f"more than {_MOST_BASES} bases below {chain[0]!r}" if len(chain) > _MOST_BASES else None

    def _sound(self, name: str, below: Values) -> Values | None:
        """The values of a policy, which is kept; None where something is wrong with it."""
        values = _over(self._tables[name].values, below)
        try:
            self.policies[name] = Policy(name=name, **values)
        except ValidationError as error:
            self._refuse(name, *in_words(error, f"policies.{name}", _KEYS))
            return None
        return values

    def _refuse(self, name: str, *words: str) -> None:
        self._values[name] = None
        self.faults += [PolicyFault(self._tables[name].path, each) for each in words]


def _over(table: Values, below: Values) -> Values:
    """A table's values over those below: each replaces the one below it, but rules of categories are joined."""
    values = {**below, **{key: value for key, value in table.items() if key != "base"}}
    rules, rules_below = table.get("categories", {}), below.get("categories", {})
    if not rules_below or not isinstance(rules, dict):
        return values
    excluded = table.get("excluded_categories")
    excluded = excluded if isinstance(excluded, list) else []  # what is none is told of by the policy
    joined = {key: rule for key, rule in rules_below.items() if key not in excluded}
    for key, rule in rules.items():
        joined[key] = {**joined[key], **rule} if isinstance(rule, dict) and key in joined else rule
    return values | {"categories": joined}
