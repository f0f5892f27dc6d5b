"""A policy as the table that it could be written as."""

import json
from collections.abc import Iterator
from typing import Any

from worker.policy.policy import Policy


def as_toml(policy: Policy) -> str:
    """All of the policy's values, those of its base and the release's own among them."""
    values = policy.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    return "\n".join(_table(["policies", policy.name], values)) + "\n"


def _table(path: list[str], values: dict[str, Any]) -> Iterator[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    single = {key: value for key, value in values.items() if key not in tables}
    if single:
        yield f"[{'.'.join(map(_key, path))}]"
        yield from (f"{key} = {_word(value)}" for key, value in single.items())
    for key, table in tables.items():
        yield from _table([*path, key], table)


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else _word(name)


def _word(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # of strings, numbers and lists TOML thinks as JSON does
