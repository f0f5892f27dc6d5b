"""Labelled data: files of several formats, read as one sequence of examples."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from worker.evaluation.labelled_example import DataUnusable, LabelledExample, Skipped
from worker.evaluation.readers.arrow_table import read_arrow
from worker.evaluation.readers.csv_table import read_csv
from worker.evaluation.readers.fields import RowFields
from worker.evaluation.readers.json_lines import read_json_lines

Format = Literal["auto", "jsonl", "openai", "csv", "parquet"]

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "parquet",
}
_DIGITS = 16
_FEW = 30  # examples


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labelled data on disk."""

    paths: tuple[Path, ...]  # files, or directories of parquet or arrow files
    fields: RowFields = field(default_factory=RowFields)
    format: Format = "auto"
    split: str | None = None  # of a directory with several

    def examples(self) -> Iterator[LabelledExample | Skipped]:
        """All examples in their order. Of several with one id the first stands. Raises DataUnusable."""
        seen: set[str] = set()
        for path in self.files():
            for each in self._read(path):
                if isinstance(each, LabelledExample):
                    if each.id in seen:
                        yield Skipped(each.place, f"the id {each.id[:80]!r} was there before")
                        continue
                    seen.add(each.id)
                yield each

    def fingerprint(self) -> str:
        """16 hex digits that change with the data, or with how it is read. Raises DataUnusable."""
        digest = hashlib.sha256(repr((self.fields, self.format)).encode())
        for path in self.files():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:_DIGITS]

    def files(self) -> list[Path]:
        """The files, directories spelt out. Raises DataUnusable."""
        return [file for path in self.paths for file in (self._within(path) if path.is_dir() else [_existing(path)])]

    def _read(self, path: Path) -> Iterator[LabelledExample | Skipped]:
        format_ = _FORMAT_OF_SUFFIX.get(path.suffix.lower()) if self.format == "auto" else self.format
        match format_:
            case "jsonl" | "openai":
                return read_json_lines(path, self.fields, openai=format_ == "openai")
            case "csv":
                return read_csv(path, self.fields)
            case "parquet":
                return read_arrow(path, self.fields)
        known = ", ".join(_FORMAT_OF_SUFFIX)
        raise DataUnusable(f"{path}: no telling its format by its name (known are {known}); --format says it")

    def _within(self, directory: Path) -> list[Path]:
        """The data files of a Hugging Face data set on disk, or of any directory."""
        found = sorted(each for suffix in ("parquet", "arrow") for each in directory.rglob(f"*.{suffix}"))
        found = [each for each in found if not each.name.startswith("cache-")]  # what `datasets` computed from them
        if not found:
            raise DataUnusable(f"{directory}: has no .parquet or .arrow file")
        by_split: dict[str, list[Path]] = {}
        for each in found:
            by_split.setdefault(_split_of(each, directory), []).append(each)
        if self.split is not None:
            if self.split not in by_split:
                raise DataUnusable(f"{directory}: no split {self.split!r}; it has {', '.join(by_split)}")
            return by_split[self.split]
        if len(by_split) > 1:
            raise DataUnusable(f"{directory}: has the splits {', '.join(by_split)}; --split chooses one")
        return found


def _split_of(file: Path, directory: Path) -> str:
    """`test` of test/data-00000-of-00001.arrow, and of data/test-00000-of-00001.parquet."""
    name = file.stem.split("-")[0]
    parent = file.parent.name if file.parent != directory else ""
    return parent if name in ("data", "part") and parent else name


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataUnusable(f"{path}: there is no such file")
    return path


class Survey:
    """What labelled data holds, found before any model is loaded."""

    def __init__(self, data: DataSet, most_named: int = 20) -> None:
        """Reads all of it. Raises DataUnusable."""
        self.examples = self.unsafe = self.safe = self.attacks = self.harmless = 0
        self.skipped = 0
        self.named: list[Skipped] = []  # the first few of the skipped
        for each in data.examples():
            if isinstance(each, Skipped):
                self.skipped += 1
                self.named += [each] if len(self.named) < most_named else []
                continue
            self.examples += 1
            self.unsafe += each.label == "unsafe"
            self.safe += each.label == "safe"
            self.attacks += each.prompt_attack is True
            self.harmless += each.prompt_attack is False

    def warnings(self) -> Sequence[str]:
        """What will be missing in the figures, a sentence each."""
        said = []
        if bool(self.unsafe) != bool(self.safe):
            there, lacking = ("unsafe", "false positive rate") if self.unsafe else ("safe", "recall")
            said.append(f"all labelled content is {there}: there is no {lacking}, and no curve")
        if bool(self.attacks) != bool(self.harmless):
            there = "attacks" if self.attacks else "harmless"
            said.append(f"all that is labelled for prompt attacks is {there}: no AUC, no recall at 1 % FPR")
        if 0 < self.examples < _FEW:
            plural = "s" if self.examples > 1 else ""
            said.append(f"{self.examples} example{plural}: the intervals say how little that tells")
        return said
