"""What the fields of a row are called, and how their values are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from worker.evaluation.labelled_example import BadRow
from worker.policy.taxonomy import CATEGORIES, CATEGORY_KEYS

TEXT_FIELDS = ("text", "prompt", "content", "message", "comment_text", "comment", "input")
LABEL_FIELDS = ("label", "unsafe", "flagged", "is_unsafe", "toxic", "target")
CATEGORY_FIELDS = ("categories", "category", "violated_categories")
GROUP_FIELDS = ("group",)
LANGUAGE_FIELDS = ("language", "lang")
ID_FIELDS = ("id", "event_id")

_UNSAFE = frozenset(
    {"unsafe", "1", "1.0", "true", "yes", "harmful", "toxic", "flagged", "malicious", "jailbreak", "injection"}
)
_SAFE = frozenset({"safe", "0", "0.0", "false", "no", "harmless", "benign", "unharmful", "neutral"})
_CATEGORY_NUMBER = re.compile(r"[sS]?(\d{1,2})(?:[:. ].*)?")
_KEY_OF_NAME = {name.lower(): key for key, name in CATEGORIES.items()}


@dataclass(frozen=True, slots=True)
class RowFields:
    """How a user's columns are called, where not as usual, and what the values of the label mean."""

    text: str | None = None
    label: str | None = None
    category: str | None = None
    group: str | None = None
    id: str | None = None
    label_means: Literal["content", "prompt-attack"] = "content"
    unsafe_values: frozenset[str] = frozenset()  # in lower case
    safe_values: frozenset[str] = frozenset()
    default_group: str | None = None  # of rows that name none
    own_groups: frozenset[str] = frozenset()
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of integer columns, by column

    def first(self, row: Mapping[str, Any], named: str | None, usual: tuple[str, ...]) -> tuple[str, Any]:
        """The name and value of the first column there is a value in. ("", None) where there is none.

        Raises BadRow where the user named a column that the row lacks.
        """
        if named is not None and named not in row:
            raise BadRow(f"no column {named!r}; it has {_some(row)}")
        for name in (named,) if named is not None else usual:
            value = row.get(name)
            if value is not None and value != "":
                return name, self._class_name(name, value)
        return "", None

    def _class_name(self, column: str, value: Any) -> Any:
        names = self.class_names.get(column, ())
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else value

    def is_unsafe(self, value: Any, column: str) -> bool:
        """What a label's value means. Raises BadRow for one that is not known."""
        word = str(value).strip().lower()
        if word in self.unsafe_values:
            return True
        if word in self.safe_values:
            return False
        if self.unsafe_values and not self.safe_values:
            return False  # the user named all that is unsafe
        if word in _UNSAFE:
            return True
        if word in _SAFE:
            return False
        raise BadRow(
            f"{column}: unknown label {_short(value)}; known are safe, unsafe, 0, 1, ...; --unsafe-value names others"
        )


def read_categories(value: Any) -> tuple[str, ...]:
    """Category keys from a list, or from text with commas, semicolons or JSON in it. Raises BadRow."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise BadRow("categories: looks like a JSON list and is none") from None
    names = re.split(r"[;,|]", value) if isinstance(value, str) else value
    if isinstance(names, int):
        names = [names]
    if not isinstance(names, list | tuple):
        raise BadRow("categories: must be a list of keys S1 to S14, or text with commas between them")
    keys = {_category_key(name) for name in names if str(name).strip()}
    return tuple(sorted(keys, key=CATEGORY_KEYS.index))


def _category_key(name: Any) -> str:
    word = str(name).strip()
    number = _CATEGORY_NUMBER.fullmatch(word)
    key = _KEY_OF_NAME.get(word.lower()) or (f"S{int(number[1])}" if number else "")
    if key not in CATEGORIES:
        raise BadRow(f"categories: unknown category {_short(name)}; known are S1 to S14 and their names")
    return key


def _short(value: Any) -> str:
    # A column taken for another may hold content: a word is shown, a sentence is not.
    text = str(value)
    return repr(text) if len(text) <= 24 and len(text.split()) <= 2 else f"of {len(text)} characters"


def _some(row: Mapping[str, Any]) -> str:
    names = list(row)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
