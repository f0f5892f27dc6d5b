"""The generated schemas: complete, true of what the worker writes, and the files in schemas/ agree with the code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from worker.contract.schemas import drifted, schemas, write_schemas
from worker.policy.schema import policy_schemas

REPOSITORY = Path(__file__).parents[2]
NAMES = (
    "chat-event.schema.json",
    "dead-letter-headers.schema.json",
    "review.schema.json",
    "verdict-headers.schema.json",
    "verdict.schema.json",
)


SCHEMAS = schemas()


def schema(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SCHEMAS[name])
    return document


def described(each: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether a schema or what it refers to has a description (pydantic leaves out one that would say the same)."""
    definition = document.get("$defs", {}).get(each.get("$ref", "").rpartition("/")[2], {})
    return bool(each.get("description") or definition.get("description"))


def properties(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property in a schema, with its place."""
    if isinstance(node, dict):
        for name, each in node.get("properties", {}).items():
            yield f"{place}.{name}", each
        for name, each in node.items():
            yield from properties(each, f"{place}.{name}")
    elif isinstance(node, list):
        for position, each in enumerate(node):
            yield from properties(each, f"{place}[{position}]")


def test_there_is_a_schema_of_everything_that_crosses_the_border() -> None:
    assert tuple(sorted(SCHEMAS)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one(name: str) -> None:
    document = schema(name)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("name", NAMES)
def test_every_object_and_every_field_has_a_description(name: str) -> None:
    document = schema(name)
    objects = {name: document, **document.get("$defs", {})}
    assert [place for place, each in objects.items() if not described(each, document)] == []
    assert [place for place, each in properties(document, name) if not described(each, document)] == []


@pytest.mark.parametrize("name", ["chat-event.schema.json", "review.schema.json", "verdict.schema.json"])
def test_the_examples_are_valid(name: str) -> None:
    document = schema(name)
    assert document["examples"]
    validator = Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for example in document["examples"]:
        validator.validate(example)


@pytest.mark.parametrize("emptied", ["messages", "content"])
def test_the_schema_refuses_empty_lists_as_the_worker_does(emptied: str) -> None:
    event: dict[str, Any] = schema("chat-event.schema.json")["examples"][0]
    event["messages"] = [] if emptied == "messages" else [{"role": "user", "content": []}]
    assert not Draft202012Validator(schema("chat-event.schema.json")).is_valid(event)


# -- files


def test_what_was_written_has_not_drifted(tmp_path: Path) -> None:
    directory = tmp_path / "schemas"
    assert sorted(path.name for path in write_schemas(directory)) == list(NAMES)
    assert drifted(directory) == []
    assert write_schemas(directory) == []


def test_missing_changed_and_left_over_files_have_drifted(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    missing, changed, left_over = tmp_path / NAMES[0], tmp_path / NAMES[3], tmp_path / "old.schema.json"
    missing.unlink()
    changed.write_text("{}")
    left_over.write_text("{}")
    (tmp_path / "asyncapi.yaml").write_text("another's")
    assert set(drifted(tmp_path)) == {missing, changed, left_over}
    assert set(write_schemas(tmp_path)) == {missing, changed, left_over}
    assert drifted(tmp_path) == []
    assert not left_over.exists()
    assert (tmp_path / "asyncapi.yaml").exists()


def test_schemas_of_other_rooms_are_written_and_checked_with_them(tmp_path: Path) -> None:
    more = {"other.schema.json": "{}"}
    write_schemas(tmp_path, more)
    assert (tmp_path / "other.schema.json").read_text() == "{}"
    assert drifted(tmp_path, more) == []
    assert drifted(tmp_path, {"other.schema.json": "{ }"}) == [tmp_path / "other.schema.json"]


def test_a_directory_that_is_not_there_has_drifted(tmp_path: Path) -> None:
    assert len(drifted(tmp_path / "nowhere")) == len(NAMES)


def test_the_schemas_of_the_repository_are_up_to_date() -> None:
    assert drifted(REPOSITORY / "schemas", policy_schemas()) == [], "run `moderation-worker schemas`"
