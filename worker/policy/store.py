"""The policies that a worker knows, and which one an event gets."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.settings import Settings


class PolicyError(Exception):
    """A policies file that cannot be used; the message names the file, the place and the fault."""


class PolicyFile(BaseModel):
    """The policies file (TOML): named policies, and which tenant has which."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    policies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """A table a policy; `default` is for events without a policy or a known tenant."""
    tenants: dict[str, str] = Field(default_factory=dict)
    """Tenant -> policy name."""


class PolicyStore:
    """Named policies and the tenants that have them."""

    def __init__(self, policies: dict[str, Policy] | None = None, tenants: dict[str, str] | None = None) -> None:
        self._policies = {DEFAULT_POLICY.name: DEFAULT_POLICY, **(policies or {})}
        self._tenants = tenants or {}

    @classmethod
    def from_file(cls, path: Path) -> "PolicyStore":
        """The policies of a TOML file. Raises PolicyError."""
        try:
            content = PolicyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PolicyError(f"cannot read the policies file {path}: {error}") from None
        except ValidationError as error:
            raise PolicyError(f"{path}: {_in_words(error, '')}") from None
        policies = {name: _policy(path, name, table) for name, table in content.policies.items()}
        for tenant, name in content.tenants.items():
            if name not in policies and name != DEFAULT_POLICY.name:
                raise PolicyError(f"{path}: tenants.{tenant} names the policy {name!r}, which is not in [policies]")
        return cls(policies, content.tenants)

    @classmethod
    def of(cls, settings: Settings) -> "PolicyStore":
        """The policies of the settings' file, or the built-in default alone. Raises PolicyError."""
        return cls.from_file(settings.policies_file) if settings.policies_file else cls()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all policies."""
        return tuple(self._policies)

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants that are named, in the file's order."""
        return tuple(self._tenants)

    def for_event(self, event: ChatEvent) -> Policy:
        """The policy the event names, else its tenant's, else the default.

        Raises Unjudgeable (`unknown_policy`) for a name that is not known: a typo must not judge by other rules than
        meant.
        """
        if event.policy is not None:
            if event.policy not in self._policies:
                raise Unjudgeable(
                    "unknown_policy", f"the event names a policy that is not one of {_some(self.names)}", Stage.POLICY
                )
            return self._policies[event.policy]
        name = DEFAULT_POLICY.name if event.tenant is None else self._tenants.get(event.tenant, DEFAULT_POLICY.name)
        return self._policies[name]


def _policy(path: Path, name: str, table: dict[str, Any]) -> Policy:
    if "name" in table:
        raise PolicyError(f"{path}: policies.{name}.name: the table's own name is the policy's name")
    try:
        return Policy(name=name, **table)
    except ValidationError as error:
        raise PolicyError(f"{path}: {_in_words(error, f'policies.{name}')}") from None


def _in_words(error: ValidationError, place: str) -> str:
    faults = error.errors(include_url=False, include_input=False)
    steps = (".".join(filter(None, (place, *map(str, fault["loc"])))) for fault in faults)
    return "; ".join(
        f"{step}: {fault['msg'].removeprefix('Value error, ')}" for step, fault in zip(steps, faults, strict=True)
    )


def _some(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
