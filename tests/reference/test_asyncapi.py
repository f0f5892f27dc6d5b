"""schemas/asyncapi.json: valid by AsyncAPI's own parser, and true of the settings and of what the worker writes."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.deploy.chart_rig import ROOT, schemas, tool
from worker.reference.asyncapi import FILE, asyncapi, document
from worker.reference.asyncapi_page import asyncapi_page
from worker.settings import Settings

DOCUMENT = document()
MESSAGES = DOCUMENT["components"]["messages"]


def _says(path: Path) -> dict[str, Any]:
    """What AsyncAPI's parser says about a document."""
    modules = schemas("asyncapi") / "node_modules"
    command = [tool("node"), str(ROOT / "deploy/asyncapi/check.cjs"), str(path)]
    done = subprocess.run(
        command, env={**os.environ, "NODE_PATH": str(modules)}, check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def _severe(said: dict[str, Any]) -> list[str]:
    return [f"{each['path']}: {each['message']}" for each in said["diagnostics"] if each["severity"] < 2]


@pytest.mark.chart
def test_the_official_parser_takes_it() -> None:
    said = _says(ROOT / "schemas" / FILE)
    assert _severe(said) == []
    assert said["version"] == "3.0.0"


@pytest.mark.chart
def test_the_official_parser_would_see_a_slip(tmp_path: Path) -> None:
    broken = document()
    broken["operations"]["publishSafe"]["channel"]["$ref"] = "#/channels/nowhere"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    assert "nowhere" in " ".join(_severe(_says(tmp_path / "broken.json")))


def test_the_files_of_the_repository_are_up_to_date() -> None:
    assert (ROOT / "schemas" / FILE).read_text(encoding="utf-8") == asyncapi(), "run `moderation-worker schemas`"
    assert (ROOT / "docs/asyncapi.md").read_text(encoding="utf-8") == asyncapi_page(), "run `moderation-worker schemas`"


def test_every_topic_is_there_and_each_is_read_or_written() -> None:
    settings = Settings.model_validate({"shadow_policy": "trial", "reviews_topic": "moderation.reviews"})
    groups = {settings.input_topic: settings.group, settings.reviews_topic: settings.reviews_group}
    expected = {(topic, "send", None) for topic in settings.written_topics}
    expected |= {(str(topic), "receive", group) for topic, group in groups.items()}
    channels = DOCUMENT["channels"]
    found = {
        (
            channels[each["channel"]["$ref"].rpartition("/")[2]]["address"],
            each["action"],
            each["bindings"]["kafka"].get("groupId", {}).get("default"),
        )
        for each in DOCUMENT["operations"].values()
    }
    assert found == expected
    assert len(channels) == len(expected)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_examples_are_valid(name: str) -> None:
    message = MESSAGES[name]
    assert message["examples"]
    for example in message["examples"]:
        for part in example.keys() & {"headers", "payload"}:
            whole = {**message[part], "components": DOCUMENT["components"]}
            Draft7Validator(whole, format_checker=Draft7Validator.FORMAT_CHECKER).validate(example[part])


def test_nothing_refers_to_what_is_not_there() -> None:
    references = list(_references(DOCUMENT))
    assert references
    for reference in references:
        at: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from _references(each)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_the_page_has_every_topic_and_field_and_its_links_lead_somewhere() -> None:
    page = asyncapi_page()
    for channel in DOCUMENT["channels"].values():
        assert f"`{channel['address']}`" in page
    for schema in DOCUMENT["components"]["schemas"].values():
        for name in schema.get("properties", ()):
            assert f"`{name}`" in page
    titles = {line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= titles
