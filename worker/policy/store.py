"""The policies that a worker knows, and which one an event gets."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.policy.errors import PolicyError, PolicyFault, in_words, near
from worker.policy.files import Texts, read_texts
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.tables import MOST_HINTS, Table, Tables
from worker.settings import Settings


class _Document(BaseModel):
    """One file: named policies, and which tenant has which."""

    model_config = ConfigDict(extra="forbid")

    policies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tenants: dict[str, str] = Field(default_factory=dict)


class PolicyStore:
    """Named policies and the tenants that have them."""

    def __init__(self, policies: dict[str, Policy] | None = None, tenants: dict[str, str] | None = None) -> None:
        self._policies = {DEFAULT_POLICY.name: DEFAULT_POLICY, **(policies or {})}
        self._tenants = tenants or {}

    @classmethod
    def from_file(cls, path: Path) -> "PolicyStore":
        """The policies of a TOML file, or of all those in a directory. Raises PolicyError."""
        return cls.from_texts(read_texts(path))

    @classmethod
    def from_texts(cls, texts: Texts) -> "PolicyStore":
        """The policies of files that are read. Raises PolicyError with everything that is wrong with them."""
        faults: list[PolicyFault] = []
        tables: dict[str, Table] = {}
        tenants: dict[str, tuple[Path, str]] = {}
        for path, content in texts.items():
            document = _document(path, content, faults)
            for name, values in document.policies.items():
                if name in tables:
                    faults.append(_twice(path, f"policies.{name}", tables[name].path))
                elif "name" in values:
                    words = f"policies.{name}.name: the table's own name is the policy's name"
                    faults.append(PolicyFault(path, words))
                else:
                    tables[name] = Table(path, values)
            for tenant, name in document.tenants.items():
                if tenant in tenants:
                    faults.append(_twice(path, f"tenants.{tenant}", tenants[tenant][0]))
                tenants[tenant] = path, name
        resolved = Tables(tables)
        faults += [*resolved.faults, *_homeless(tenants, {*tables, DEFAULT_POLICY.name})]
        if not (faults or tables or tenants):
            faults = [PolicyFault(path, "says nothing: neither [policies] nor [tenants]") for path in texts]
        if faults:
            raise PolicyError(sorted(faults, key=lambda fault: fault.path))
        return cls(resolved.policies, {tenant: name for tenant, (_, name) in tenants.items()})

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

    def named(self, name: str) -> Policy | None:
        """The policy of this name."""
        return self._policies.get(name)

    def of_tenant(self, tenant: str | None) -> Policy:
        """The tenant's policy; the default for tenants that are not named, and for none."""
        name = DEFAULT_POLICY.name if tenant is None else self._tenants.get(tenant, DEFAULT_POLICY.name)
        return self._policies[name]

    def for_event(self, event: ChatEvent) -> Policy:
        """The policy the event names, else its tenant's, else the default.

        Raises Unjudgeable (`unknown_policy`) for a name that is not known: a typo must not judge by other rules than
        meant.
        """
        if event.policy is None:
            return self.of_tenant(event.tenant)
        if event.policy not in self._policies:
            raise Unjudgeable(
                "unknown_policy", f"the event names a policy that is not one of {_some(self.names)}", Stage.POLICY
            )
        return self._policies[event.policy]


def _document(path: Path, content: bytes, faults: list[PolicyFault]) -> _Document:
    values: Mapping[str, Any] = {}
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
        return _Document.model_validate(values)
    except ValidationError as error:
        faults += [PolicyFault(path, each) for each in in_words(error, "", _Document.model_fields)]
        # What is wrong within its policies is told as well; not whose they are, for one may be missing now.
        tables = values.get("policies")
        sound = tables.items() if isinstance(tables, dict) else ()
        return _Document(policies={name: table for name, table in sound if isinstance(table, dict)})
    except (ValueError, RecursionError) as error:  # TOML's, UTF-8's, and that of an integer of 5,000 digits
        words = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        faults.append(PolicyFault(path, f"cannot read the policies file: {words}"))
    return _Document()


def _twice(path: Path, key: str, other: Path) -> PolicyFault:
    return PolicyFault(path, f"{key}: is in {other} as well")


def _homeless(tenants: Mapping[str, tuple[Path, str]], known: set[str]) -> Iterable[PolicyFault]:
    hinted = 0
    for tenant, (path, name) in tenants.items():
        if name not in known:
            hint = near(name, known) if hinted < MOST_HINTS else ""
            hinted += 1
            yield PolicyFault(path, f"tenants.{tenant} names the policy {name!r}, which is not in [policies]{hint}")


def _some(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
