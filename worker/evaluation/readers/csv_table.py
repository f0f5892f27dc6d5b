"""CSV (or TSV) with a header and a text column."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from worker.evaluation.labelled_example import BadRow, DataUnusable, LabelledExample, Place, Skipped
from worker.evaluation.readers.fields import RowFields
from worker.evaluation.readers.row import example_of


def read_csv(path: Path, fields: RowFields) -> Iterator[LabelledExample | Skipped]:
    """The examples of a file in its order. Bytes that are not UTF-8 become U+FFFD. Raises DataUnusable without a
    header."""
    csv.field_size_limit(sys.maxsize)  # a message may be longer than the module's 128 KiB
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = next(rows, None)
        if not header:
            raise DataUnusable(f"{path}: is empty; a CSV needs a header with the names of its columns")
        line = rows.line_num + 1
        while True:
            try:
                row = next(rows, None)
                if row is None:
                    return
                if row:
                    yield _example(row, header, Place(path.name, line), fields)
            except csv.Error as error:
                yield Skipped(Place(path.name, line), f"not CSV: {error}")
            line = rows.line_num + 1


def _example(row: list[str], header: list[str], place: Place, fields: RowFields) -> LabelledExample | Skipped:
    if len(row) != len(header):
        return Skipped(place, f"{len(row)} values for {len(header)} columns")
    try:
        return example_of(dict(zip(header, row, strict=True)), place, fields)
    except BadRow as cause:
        return Skipped(place, str(cause))
