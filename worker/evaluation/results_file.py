"""The results file: what a run judges and by what, and a line an example as the verdicts come. A run that was stopped
goes on from it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.contract.verdict import ModelRef
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.labelled_example import DataUnusable

RESULTS_NAME = "results.jsonl"
_FORMAT = 1


class RunHeader(BaseModel):
    """The first line: what was judged, under which policy, by which models."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    results_format: int = _FORMAT
    data: tuple[str, ...]
    """The names of the files, or directories."""
    data_fingerprint: str
    policy_name: str
    policy_hash: str
    policy: dict[str, Any]
    """All values of the policy."""
    models: tuple[ModelRef, ...]
    worker_version: str

    @property
    def stand_in(self) -> bool:
        """Whether any of the models is a stand-in: the figures then say nothing about moderation quality."""
        return any(model.stand_in for model in self.models)


@dataclass(slots=True)
class Results:
    """A run as it was read: header, and each example's newest line."""

    header: RunHeader
    rows: dict[str, JudgedExample] = field(default_factory=dict)
    whole_bytes: int = 0  # up to where the file can be trusted: a kill may leave half a line


def read_results(path: Path) -> Results:
    """A run's results; of half a line at the end nothing. `path`: the file, the run's directory, or its report.json.

    Raises DataUnusable.
    """
    path = results_path(path)
    try:
        with path.open("rb") as file:
            first = file.readline()
            results = Results(RunHeader.model_validate_json(first), whole_bytes=len(first))
            for number, line in enumerate(file, 2):
                if line.endswith(b"\n"):
                    row = _row(line, path, number)
                    results.rows[row.id] = row
                    results.whole_bytes += len(line)
    except OSError as error:
        raise DataUnusable(f"{path}: {error.strerror or error}") from None
    except ValidationError:
        raise DataUnusable(f"{path}:1: is no results file of `moderation-worker evaluate`") from None
    if results.header.results_format != _FORMAT:
        raise DataUnusable(f"{path}: its format is {results.header.results_format}; this version reads {_FORMAT}")
    return results


def results_path(path: Path) -> Path:
    """The results file of a run named by its directory, or by a file in it."""
    if path.is_dir():
        return path / RESULTS_NAME
    return path.with_name(RESULTS_NAME) if path.name == "report.json" else path


def _row(line: bytes, path: Path, number: int) -> JudgedExample:
    try:
        return JudgedExample.model_validate_json(line)
    except ValidationError:
        raise DataUnusable(f"{path}:{number}: is no line of a results file") from None


def refuse_other_run(there: RunHeader, here: RunHeader, path: Path) -> None:
    """Raises DataUnusable where results are of another data set, policy or model."""
    what = (
        (
            "data",
            f"{there.data_fingerprint} ({', '.join(there.data)})",
            f"{here.data_fingerprint} ({', '.join(here.data)})",
        ),
        ("policy", f"{there.policy_name} {there.policy_hash}", f"{here.policy_name} {here.policy_hash}"),
        ("models", _models(there), _models(here)),
    )
    for name, old, new in what:
        if old != new:
            raise DataUnusable(
                f"{path}: holds results of other {name}: {old}, and now it is {new}. "
                "Name another directory with --output, or delete this one to begin anew"
            )


def _models(header: RunHeader) -> str:
    return ", ".join(f"{model.id}@{model.revision}" for model in header.models)


class ResultsWriter:
    """Appends to a results file; each line is whole in the file when `add` returns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, row: JudgedExample) -> None:
        """Writes one line."""
        self._file.write(orjson.dumps(row.model_dump(mode="json", exclude_defaults=True)) + b"\n")
        self._file.flush()


@contextmanager
def continued(path: Path, header: RunHeader) -> Iterator[tuple[ResultsWriter, Results]]:
    """A writer that goes on after what is there already, and what that is. Raises DataUnusable for another run's."""
    results = Results(header)
    if path.exists() and path.stat().st_size:
        results = read_results(path)
        refuse_other_run(results.header, header, path)
        os.truncate(path, results.whole_bytes)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header.model_dump_json().encode() + b"\n")
    with path.open("ab") as file:
        yield ResultsWriter(file), results
