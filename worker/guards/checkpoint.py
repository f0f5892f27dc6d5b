"""Checkpoint: a directory with a model's files, checked for completeness and named by its content. No torch here."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from worker.guards.errors import ModelUnavailable
from worker.guards.hub import WANTED_FILES
from worker.standins import ABOUT

_INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_HASH_DIGITS: Final = 12
_HASHED_AT_EACH_END: Final = 4 << 20  # bytes of a large file
_LARGEST_HEADER: Final = 100 << 20  # bytes: safetensors' own limit


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory that holds a model."""

    path: Path

    @property
    def stand_in(self) -> bool:
        """Whether it says that it is a stand-in."""
        return (self.path / ABOUT).is_file()

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.stat().st_size for file in self._files())

    def check_complete(self) -> None:
        """Raises ModelUnavailable where a file is missing or cut short, which torch would report late or not at all."""
        for name in ("config.json", "tokenizer.json"):
            if not (self.path / name).is_file():
                raise ModelUnavailable(f"{self.path} has no {name}: it does not hold a whole model in the hub's layout")
        for shard in self._shards():
            if not (self.path / shard).is_file():
                raise ModelUnavailable(f"{self.path} lacks {shard}: copy or download the model again")
            _check_whole(self.path / shard)

    def content_hash(self) -> str:
        """Hex digits that change with the files: names, sizes, and bytes (of large files those at both ends)."""
        digest = hashlib.sha256()
        for file in self._files():
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as content:
                if size <= 2 * _HASHED_AT_EACH_END:
                    digest.update(content.read())
                else:
                    digest.update(content.read(_HASHED_AT_EACH_END))
                    content.seek(-_HASHED_AT_EACH_END, 2)
                    digest.update(content.read())
        return digest.hexdigest()[:_HASH_DIGITS]

    def _files(self) -> Iterator[Path]:
        for file in sorted(self.path.iterdir()):
            if file.is_file() and any(fnmatch(file.name, pattern) for pattern in WANTED_FILES):
                yield file

    def _shards(self) -> list[str]:
        index = self.path / _INDEX
        if not index.is_file():
            return [_SINGLE]
        try:
            return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ModelUnavailable(f"{index} is broken: copy or download the model again") from None


def _check_whole(file: Path) -> None:
    """The file's own header says how long it is."""
    size = file.stat().st_size
    try:
        with file.open("rb") as content:
            header = int.from_bytes(content.read(8), "little")
            tensors = json.loads(content.read(header)) if header <= min(size, _LARGEST_HEADER) else {}
        end = max(tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ModelUnavailable(f"{file} is not a whole safetensors file: copy or download the model again") from None
    if size != 8 + header + end:
        raise ModelUnavailable(
            f"{file} has {size} bytes instead of {8 + header + end}: copy or download the model again"
        )
