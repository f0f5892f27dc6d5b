"""The schema of the policies file: every key described, and as strict as the worker where a schema can be."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from worker.policy.errors import PolicyError
from worker.policy.schema import policy_schemas
from worker.policy.store import PolicyStore

REPOSITORY = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads(policy_schemas()["policies.schema.json"])


def test_it_is_one_and_describes_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for table in (SCHEMA, *SCHEMA["$defs"].values()):
        assert table["description"]
        assert [key for key, each in table["properties"].items() if not each.get("description")] == []


def test_the_example_of_the_docs_is_taken_by_schema_and_worker(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "policies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Draft202012Validator(SCHEMA).validate(tomllib.loads(example))
    file = tmp_path / "policies.toml"
    file.write_text(example, encoding="utf-8")
    policies = PolicyStore.from_file(file)
    assert policies.of_tenant("playground").categories["S12"].threshold == 0.1
    assert policies.of_tenant("deutsches-museum").prompt_attack_action == "review"


@pytest.mark.parametrize(
    "text",
    [
        "[policies.a]\nunsafe_treshold = 0.5",
        "[policies.a]\nunsafe_threshold = 2",
        '[policies.a]\nexcluded_categories = ["S15"]',
        "[policies.a]\nreview_band = [0.5]",
        "[policies.a.categories.S15]",
        '[policies.a.categories.S1]\naction = "block"',
        '[policies.a]\njudged_roles = ["tool"]',
        "[policies.a]\njudged_roles = []",
        '[policies.a]\nimages = "drop"',
        "[policies.a]\nbase = 7",
        "[tenant]",
        "[tenants]\na = 7",
    ],
)
def test_what_the_worker_refuses_the_schema_refuses_too(tmp_path: Path, text: str) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(tomllib.loads(text))
    file = tmp_path / "policies.toml"
    file.write_text(text)
    with pytest.raises(PolicyError):
        PolicyStore.from_file(file)
