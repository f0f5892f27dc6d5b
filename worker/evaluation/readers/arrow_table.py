"""Parquet files, and the Arrow files of Hugging Face's `save_to_disk`. Needs pyarrow: the extra `parquet`."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from worker.evaluation.labelled_example import BadRow, DataUnusable, LabelledExample, Place, Skipped
from worker.evaluation.readers.fields import RowFields
from worker.evaluation.readers.row import example_of

_ROWS_AT_ONCE = 256  # rows may hold pictures


def read_arrow(path: Path, fields: RowFields) -> Iterator[LabelledExample | Skipped]:
    """The examples of a file in its order, rows counted from 1. Raises DataUnusable."""
    try:
        import pyarrow
    except ImportError:
        raise DataUnusable(f"{path}: needs pyarrow. Install it: pip install 'moderation-worker[parquet]'") from None
    number = 0
    try:
        for metadata, rows in _batches(path):
            known = replace(fields, class_names=_class_names(metadata))
            for row in rows:
                number += 1
                place = Place(path.name, number)
                try:
                    yield example_of(row, place, known)
                except BadRow as cause:
                    yield Skipped(place, str(cause))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataUnusable(f"{path}: cannot be read after row {number}: {error}") from None


def _batches(path: Path) -> Iterator[tuple[Mapping[bytes, bytes], list[dict[str, Any]]]]:
    """The schema's metadata, and rows."""
    import pyarrow
    from pyarrow import ipc, parquet

    if path.suffix == ".arrow":
        with pyarrow.memory_map(str(path)) as source, ipc.open_stream(source) as stream:
            for batch in stream:
                for begin in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    yield stream.schema.metadata or {}, batch.slice(begin, _ROWS_AT_ONCE).to_pylist()
        return
    with parquet.ParquetFile(path) as file:
        metadata = file.schema_arrow.metadata or {}
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield metadata, batch.to_pylist()


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """What the integers of ClassLabel columns stand for."""
    try:
        features = orjson.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return {}
    labelled = {name: each for name, each in features.items() if isinstance(each, dict) and "names" in each}
    return {name: tuple(map(str, each["names"])) for name, each in labelled.items()}
