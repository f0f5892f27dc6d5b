"""OpenAI's moderation data -> rows: its evaluation set, and its endpoint's answers kept with their input."""

from collections.abc import Mapping
from typing import Any

from worker.evaluation.labelled_example import BadRow

# The taxonomies differ: the nearest hazard, or none where there is none near (harassment, plain violence in fiction).
_NEAREST: dict[str, str | None] = {
    "sexual": "S12",
    "sexual/minors": "S4",
    "hate": "S10",
    "hate/threatening": "S10",
    "harassment": None,
    "harassment/threatening": "S1",
    "self-harm": "S11",
    "self-harm/intent": "S11",
    "self-harm/instructions": "S11",
    "violence": "S1",
    "violence/graphic": "S1",
    "illicit": "S2",
    "illicit/violent": "S2",
}
_SHORT = {
    "S": "sexual",
    "S3": "sexual/minors",
    "H": "hate",
    "H2": "hate/threatening",
    "HR": "harassment",
    "SH": "self-harm",
    "V": "violence",
    "V2": "violence/graphic",
}


def from_openai(row: Any) -> dict[str, Any]:
    """A row with `text`, `label` and `categories`. Raises BadRow.

    Takes {"prompt", "S": 0, "H": 1, ...} (a letter that is missing or null: nobody looked) and {"input",
    "categories": {"hate": true, ...}, "flagged"}, the latter also within "results": [...].
    """
    if not isinstance(row, Mapping):
        raise BadRow("not an object with named fields")
    inner = _inner(row)
    flags = inner.get("categories")
    if isinstance(flags, Mapping):
        said = {str(name): value for name, value in flags.items() if value is not None}
    else:
        said = {long: row[short] for short, long in _SHORT.items() if row.get(short) is not None}
    unknown = sorted(set(said) - set(_NEAREST))
    if unknown:
        raise BadRow(f"categories: unknown OpenAI category {unknown[0][:40]!r}")
    flagged = inner.get("flagged", any(said.values()) if said else None)
    if flagged is None:
        raise BadRow("no label: neither categories nor flagged")
    keys = {_NEAREST[name] for name, value in said.items() if value}
    carried = {name: row[name] for name in ("id", "group", "language", "label_source") if name in row}
    return {
        **carried,
        "text": row.get("prompt", row.get("input", row.get("text"))),
        "label": "unsafe" if flagged else "safe",
        "categories": [key for key in keys if key],
    }


def _inner(row: Mapping[str, Any]) -> Mapping[str, Any]:
    results = row.get("results")
    if isinstance(results, list) and len(results) == 1 and isinstance(results[0], Mapping):
        return results[0]
    if results is not None:
        raise BadRow("results: must be a list of one object")
    return row
