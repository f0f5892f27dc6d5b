"""Differences: what two sets of policies say otherwise."""

from collections.abc import Iterator
from typing import Any, Final

from worker.policy.policy import Policy
from worker.policy.store import PolicyStore

_NOTHING: Final = "(none)"


def differences(old: PolicyStore, new: PolicyStore) -> Iterator[str]:
    """A line for each policy and value that differs, and for each tenant that gets a policy of another name."""
    for name in dict.fromkeys((*old.names, *new.names)):
        before, after = old.named(name), new.named(name)
        if before is None or after is None:
            yield f"policies.{name}: {'added' if before is None else 'removed'}"
        elif before != after:
            yield from _of_policy(name, before, after)
    for tenant in dict.fromkeys((*old.tenants, *new.tenants)):
        was, now = old.of_tenant(tenant).name, new.of_tenant(tenant).name
        if was != now:
            yield f"tenants.{tenant}: {was} -> {now}"


def _of_policy(name: str, old: Policy, new: Policy) -> Iterator[str]:
    before, after = (dict(_values("", policy.model_dump(mode="json"))) for policy in (old, new))
    yield f"policies.{name}: {old.hash} -> {new.hash}"
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if was != now:
            yield f"  {key}: {was} -> {now}"


def _values(place: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every value with its key, as it is written in a policies file."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _values(f"{place}{key}.", value)
        elif value is not None:
            yield place + key, f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
