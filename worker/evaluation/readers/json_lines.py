"""JSON lines: an example a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from worker.evaluation.labelled_example import BadRow, LabelledExample, Place, Skipped
from worker.evaluation.readers.fields import RowFields
from worker.evaluation.readers.openai_moderation import from_openai
from worker.evaluation.readers.row import example_of


def read_json_lines(path: Path, fields: RowFields, *, openai: bool) -> Iterator[LabelledExample | Skipped]:
    """The examples of a file in its order; empty lines are passed over."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                place = Place(path.name, number)
                try:
                    row = _row(line)
                    yield example_of(from_openai(row) if openai else row, place, fields)
                except BadRow as cause:
                    yield Skipped(place, str(cause))


def _row(line: bytes) -> Any:
    try:
        return orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadRow(f"not JSON: {error.msg} at character {error.pos}") from None
