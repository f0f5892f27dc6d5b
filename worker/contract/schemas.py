"""The generated JSON Schemas (draft 2020-12) of everything that crosses the worker's border."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from worker.contract.chat_event import ChatEvent
from worker.contract.headers import DeadLetterHeaders, VerdictHeaders
from worker.contract.review import Review
from worker.contract.verdict import Verdict

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MODELS: dict[str, tuple[type[Any], JsonSchemaMode]] = {
    "chat-event.schema.json": (ChatEvent, "validation"),
    "verdict.schema.json": (Verdict, "serialization"),
    "verdict-headers.schema.json": (VerdictHeaders, "serialization"),
    "dead-letter-headers.schema.json": (DeadLetterHeaders, "serialization"),
    "review.schema.json": (Review, "validation"),
}


def schema_of(model: type[Any], mode: JsonSchemaMode) -> str:
    """The text of a model's schema."""
    document = {"$schema": _DIALECT, **TypeAdapter(model).json_schema(mode=mode)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schemas() -> dict[str, str]:
    """File name -> the schema's text."""
    return {name: schema_of(model, mode) for name, (model, mode) in _MODELS.items()}


def write_schemas(directory: Path, more: Mapping[str, str] = MappingProxyType({})) -> list[Path]:
    """Writes all schemas; the files that changed. `more`: file name -> text of schemas from other rooms."""
    changed, wanted = drifted(directory, more), {**schemas(), **more}
    directory.mkdir(parents=True, exist_ok=True)
    for path in changed:
        if path.name in wanted:
            path.write_text(wanted[path.name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def drifted(directory: Path, more: Mapping[str, str] = MappingProxyType({})) -> list[Path]:
    """The schema files that differ from the code: missing, changed or left over."""
    wanted = {**schemas(), **more}
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.schema.json")}
    return [directory / name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
