"""Blocks of Python, TOML and JSON can be read, and what looks like a policies file or a record is one."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.docs.pages import ROOT, Block, all_pages, read_page
from worker.policy.errors import PolicyError
from worker.policy.store import PolicyStore
from worker.settings import SettingsError, load_settings

BLOCKS = [block for page in all_pages() for block in page.blocks]
# What a record has that no other has, and its schema.
KINDS = {
    "chat-event": {"event_id", "conversation_id", "messages"},
    "verdict": {"verdict_id", "models", "coverage"},
    "review": {"verdict_id", "label", "decided_at"},
}


def fault_of_python(text: str, _: Path) -> str | None:
    """Compiled, not run."""
    try:
        compile(text, "block", "exec")
    except SyntaxError as fault:
        return str(fault)
    return None


def fault_of_toml(text: str, folder: Path) -> str | None:
    """A policies file as `policies check` reads it; anything else as settings."""
    path = folder / "block.toml"
    path.write_text(text, encoding="utf-8")
    try:
        if tomllib.loads(text).keys() & {"policies", "tenants"}:
            PolicyStore.from_file(path)
        else:
            load_settings(path)
    except (tomllib.TOMLDecodeError, PolicyError, SettingsError) as fault:
        return str(fault)
    return None


def fault_of_json(text: str, _: Path) -> str | None:
    """One document, or one a line; records by their schemas."""
    try:
        documents = list(_documents(text))
    except ValueError as fault:
        return str(fault)
    faults = (_fault_of_record(document) for document in documents)
    return next((fault for fault in faults if fault), None)


def _documents(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except ValueError:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())


def _fault_of_record(document: Any) -> str | None:
    if not isinstance(document, dict):
        return None
    kind = next((kind for kind, keys in KINDS.items() if keys <= document.keys()), None)
    if kind is None:
        return None
    schema = json.loads((ROOT / f"schemas/{kind}.schema.json").read_text(encoding="utf-8"))
    fault = best_match(Draft202012Validator(schema).iter_errors(document))
    return f"no {kind}: {fault.json_path} {fault.message}" if fault else None


READERS: dict[str, Callable[[str, Path], str | None]] = {
    "python": fault_of_python,
    "toml": fault_of_toml,
    "json": fault_of_json,
}


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language in READERS], ids=lambda block: block.place)
def test_a_block_can_be_read(block: Block, tmp_path: Path) -> None:
    fault = READERS[block.language](block.text, tmp_path)
    assert fault is None, f"{block.place}: {fault}"


@pytest.mark.parametrize(
    ("language", "text", "fault"),
    [
        ("python", "for x in", "invalid syntax"),
        ("toml", '[policies.a]\nbase = "b"', "no policy is named 'b'"),
        ("toml", "batch_wait = 1", "batch_wait"),
        ("toml", "batch_wait_ms = 1.5", None),
        ("json", '{"a": 1}\n{"b": ', "Expecting value"),
        ("json", '{"event_id": "e", "conversation_id": "c", "messages": []}', "no chat-event: $.messages"),
        ("json", '{"verdict_id": "v", "label": "review", "decided_at": "2026-01-01T00:00:00Z"}', "no review: "),
    ],
)
def test_a_wrong_block_is_found(language: str, text: str, fault: str | None, tmp_path: Path) -> None:
    found = READERS[language](text, tmp_path)
    assert found is None if fault is None else fault in (found or "")


def test_blocks_say_what_they_are(tmp_path: Path) -> None:
    """A block without a language is a picture or an answer: nothing in it begins as a command does."""
    page = tmp_path / "page.md"
    page.write_text("```\n$ ls\n```\n\n```\na picture\n```\n", encoding="utf-8")
    assert [_unnamed(block) for block in read_page(page).blocks] == [True, False]
    unnamed = [block.place for block in BLOCKS if _unnamed(block)]
    assert not unnamed, f"commands in blocks that are not called console: {', '.join(unnamed)}"


def _unnamed(block: Block) -> bool:
    return not block.language and any(line.startswith("$ ") for line in block.text.splitlines())
