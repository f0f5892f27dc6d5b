"""The JSON Schema of the policies file: for editors, and for whoever generates policies."""

from pydantic import BaseModel, ConfigDict, Field

from worker.contract.schemas import schema_of
from worker.policy.policy import PolicyValues


class PolicyTable(PolicyValues):
    """One policy. What it does not say is its base's, or else the release's own."""

    base: str | None = None
    """The policy that this one starts from."""


class PoliciesFile(BaseModel):
    """Named policies, and which tenant has which (TOML)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    policies: dict[str, PolicyTable] = Field(default_factory=dict)
    """A table a policy; `default` is for events without a policy or a known tenant."""
    tenants: dict[str, str] = Field(default_factory=dict)
    """Tenant -> policy name."""


def policy_schemas() -> dict[str, str]:
    """File name -> the schema's text."""
    return {"policies.schema.json": schema_of(PoliciesFile, "validation")}
