"""The generated JSON Schemas (draft 2020-12) of everything that crosses the worker's border."""

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from worker.contract.chat_event import ChatEvent
from worker.contract.headers import DeadLetterHeaders, VerdictHeaders
from worker.contract.verdict import Verdict

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MODELS: dict[str, tuple[type[BaseModel], JsonSchemaMode]] = {
    "chat-event.schema.json": (ChatEvent, "validation"),
    "verdict.schema.json": (Verdict, "serialization"),
    "verdict-headers.schema.json": (VerdictHeaders, "serialization"),
    "dead-letter-headers.schema.json": (DeadLetterHeaders, "serialization"),
}


def schemas() -> dict[str, str]:
    """File name -> the schema's text."""
    documents = {name: model.model_json_schema(mode=mode) for name, (model, mode) in _MODELS.items()}
    return {
        name: json.dumps({"$schema": _DIALECT, **document}, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


def write_schemas(directory: Path) -> list[Path]:
    """Writes all schemas; the files that changed."""
    changed = drifted(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for path in changed:
        if path.name in schemas():
            path.write_text(schemas()[path.name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def drifted(directory: Path) -> list[Path]:
    """The schema files that differ from the code: missing, changed or left over."""
    wanted = schemas()
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.schema.json")}
    return [directory / name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
