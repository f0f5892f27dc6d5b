"""Policies that cannot be used."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_MOST_IN_A_MESSAGE = 10
_NAMES_COMPARED: Final = 1000


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """One thing that is wrong."""

    path: Path
    words: str  # one line, with the key before them where there is one

    def __post_init__(self) -> None:
        if not self.words.isprintable():  # a name may hold anything
            words = "".join(each if each.isprintable() else repr(each)[1:-1] for each in self.words)
            object.__setattr__(self, "words", words)

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


class PolicyError(Exception):
    """Policies that cannot be used; the message names the file, the key and the fault. `faults` has all of them."""

    def __init__(self, faults: Sequence[PolicyFault]) -> None:
        self.faults = tuple(faults)
        shown = self.faults[:_MOST_IN_A_MESSAGE]
        by_path = groupby(shown, lambda fault: fault.path)
        lines = [f"{path}: {'; '.join(fault.words for fault in faults)}" for path, faults in by_path]
        more = len(self.faults) - len(shown)
        super().__init__("; ".join(lines) + (f"; and {more} more faults" if more else ""))

    @classmethod
    def of(cls, path: Path, words: str) -> "PolicyError":
        """The error with one fault."""
        return cls([PolicyFault(path, words)])


def in_words(error: ValidationError, place: str, known: Collection[str]) -> list[str]:
    """A line for each fault that pydantic found, with its key below `place`. `known`: the keys that may be there, of
    which a misspelt one was meant."""
    return [_in_words(fault, place, known) for fault in error.errors(include_url=False, include_input=False)]


def _in_words(fault: ErrorDetails, place: str, known: Collection[str]) -> str:
    step = ".".join(filter(None, (place, *map(str, fault["loc"]))))
    if fault["type"] == "extra_forbidden":
        return f"{step}: there is no such key{near(str(fault['loc'][-1]), known)}"
    return f"{step}: {fault['msg'].removeprefix('Value error, ')}"


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that was meant, or nothing."""
    found = difflib.get_close_matches(name, list(known)[:_NAMES_COMPARED], n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
