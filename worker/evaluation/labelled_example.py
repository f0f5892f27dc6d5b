"""A labelled example: a chat event, and what a person says of it."""

from dataclasses import dataclass
from typing import Literal

from worker.contract.chat_event import ChatEvent

TrueLabel = Literal["safe", "unsafe"]

UNGROUPED = "ungrouped"

# The rows of the release's table.
ENGLISH = "english"
MULTILINGUAL = "multilingual"  # a group of it names its language: multilingual/fr
SINGLE_IMAGE = "single_image"
MULTI_IMAGE = "multi_image"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the data: a file, and a line or row of it, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One example. At least one of `label` and `prompt_attack` is known."""

    id: str
    event: ChatEvent
    place: Place
    label: TrueLabel | None = None  # of the content; None: nobody said
    categories: tuple[str, ...] = ()  # of unsafe content those it violates; of safe content those it is about
    group: str = UNGROUPED
    prompt_attack: bool | None = None  # None: nobody said
    label_source: str | None = None  # who said so, such as a data set's name or "review"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is no example, and why; without its content."""

    place: Place
    reason: str


class BadRow(Exception):  # it reads as what happened, like Unjudgeable
    """A row that cannot become an example; the message says why, without its content."""


class DataUnusable(Exception):
    """Data that cannot be used at all; the message names the file and the fault, and what to do."""


def known_group(name: str, own: frozenset[str]) -> bool:
    """Whether a group is one of the release's, or one the user has named."""
    language = name.removeprefix(MULTILINGUAL + "/")
    if language != name:
        return bool(language) and "/" not in language
    return name in own or name in (ENGLISH, SINGLE_IMAGE, MULTI_IMAGE, UNGROUPED)
