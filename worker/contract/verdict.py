"""Verdict: one output record, the answer to one chat event."""

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from worker.contract.chat_event import ChatEvent

VerdictId = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
CATEGORY_KEY_PATTERN: Final = r"^S([1-9]|1[0-4])$"
CategoryKey = Annotated[str, Field(pattern=CATEGORY_KEY_PATTERN)]
Probability = Annotated[float, Field(ge=0, le=1)]

# The namespace of verdict ids. Never change it: consumers dedupe by the ids that follow from it.
_NAMED: Final = hashlib.sha1(uuid.UUID("6f6b7b0c-3f0e-5d0a-9f57-1f1d5a6c2e11").bytes, usedforsecurity=False)
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

UTC_TIMES = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC  # the schema wants an offset


class Label(StrEnum):
    """What a verdict says, from mild to severe."""

    SAFE = "safe"
    REVIEW = "review"
    UNSAFE = "unsafe"


class Reason(StrEnum):
    """Why a verdict has its label."""

    LLAMA_GUARD = "llama_guard"  # Llama Guard found a violated category
    PROMPT_GUARD = "prompt_guard"  # Prompt Guard found a prompt attack
    AMBIGUOUS = "ambiguous"  # a score lies in the policy's review band
    IMAGE_REVIEW = "image_review"  # the message has an image, and the policy sends those to review
    EXCLUDED_ONLY = "excluded_only"  # only categories that the policy excludes were found
    IGNORED_ONLY = "ignored_only"  # only categories that the policy ignores were found; they are reported
    ROLE_NOT_JUDGED = "role_not_judged"  # the policy does not judge who spoke last: no guard was asked
    IMAGES_IGNORED = "images_ignored"  # the message has images that nobody looked at, as the policy says
    INCOMPLETE_COVERAGE = "incomplete_coverage"  # part of the content could not be judged
    UNPARSEABLE = "unparseable"  # a guard's answer is not of its grammar
    TOO_LARGE = "too_large"  # the check alone does not fit the device's memory
    GUARD_ERROR = "guard_error"  # a guard failed on this check
    GUARD_UNAVAILABLE = "guard_unavailable"  # a guard is down, and was not asked


# A verdict and its parts are plain dataclasses, not pydantic models: one is made for every event, from values that need
# no check, at a third of a model's cost. pydantic makes their schema and reads them, by VERDICT.
_DOCSTRINGS = ConfigDict(use_attribute_docstrings=True)


@dataclass
class Scores:
    """Probabilities between 0 and 1."""

    __pydantic_config__ = _DOCSTRINGS

    unsafe: Probability | None = None
    """P(unsafe) of Llama Guard: its highest over all windows; null where it gave no score."""
    prompt_attack: Probability | None = None
    """P(prompt attack) of Prompt Guard: its highest over all windows; null where nothing was scanned."""
    categories: dict[CategoryKey, Probability] = field(default_factory=dict)
    """P(first category given unsafe) for the violated categories."""


@dataclass
class PolicyRef:
    """The policy that was applied."""

    __pydantic_config__ = _DOCSTRINGS

    name: str
    """The policy's name."""
    hash: str
    """The first 16 hex digits of the SHA-256 of the policy's content."""


@dataclass
class ModelRef:
    """A model that took part."""

    __pydantic_config__ = _DOCSTRINGS

    id: str
    """Hub id or directory name."""
    revision: str
    """The commit on the hub, or `local-` and a content hash; `+int8` behind it where the weights were made smaller."""
    stand_in: bool
    """True for the tiny synthetic stand-ins: the verdict then says nothing about the content."""


@dataclass
class Coverage:
    """What was judged of the content."""

    __pydantic_config__ = _DOCSTRINGS

    llama_guard_windows: int = 0
    """Prompts that Llama Guard judged."""
    prompt_guard_windows: int = 0
    """Windows that Prompt Guard judged."""
    images: int = 0
    """Images that were judged."""
    turns_dropped: int = 0
    """Oldest turns left out so that the last message fits, or because a picture in one of them cannot be read."""
    complete: bool = True
    """False: part of what the policy wants judged of the last message was not judged (of an animation, all but its
    first frame); the label is then `review` or `unsafe`."""
    delimiters_neutralised: int = 0
    """Imitations of the delimiters of Llama Guard's prompt that were broken in the judged text: a sign of an attack."""


@dataclass
class Source:
    """The record that this verdict answers."""

    __pydantic_config__ = _DOCSTRINGS

    topic: str
    """The input topic."""
    partition: int
    """The partition of the input topic."""
    offset: int
    """The record's offset in its partition."""


@dataclass(kw_only=True)
class Verdict:
    """The answer to one chat event."""

    __pydantic_config__ = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "verdict_id": "0c2f64a5-0e3c-5b0e-9d9e-6f0f8f3f3a52",
                    "event_id": "m-1001",
                    "conversation_id": "c-17",
                    "tenant": "acme",
                    "label": "unsafe",
                    "reasons": ["llama_guard"],
                    "explanation": "unsafe: Llama Guard P(unsafe) 0.98 >= 0.5, S9 Indiscriminate Weapons 0.97 "
                    "(policy default)",
                    "violated_categories": ["S9"],
                    "prompt_attack": False,
                    "judged_role": "user",
                    "scores": {"unsafe": 0.98, "prompt_attack": 0.01, "categories": {"S9": 0.97}},
                    "policy": {"name": "default", "hash": "1f0c1a2b3c4d5e6f"},
                    "models": [
                        {"id": "meta-llama/Llama-Guard-4-12B", "revision": "0123abc", "stand_in": False},
                        {"id": "meta-llama/Llama-Prompt-Guard-2-86M", "revision": "4567def", "stand_in": False},
                    ],
                    "coverage": {
                        "llama_guard_windows": 1,
                        "prompt_guard_windows": 1,
                        "images": 0,
                        "turns_dropped": 0,
                        "complete": True,
                        "delimiters_neutralised": 0,
                    },
                    "source": {"topic": "chat.events", "partition": 3, "offset": 812},
                    "decided_at": "2026-05-01T12:00:00.250000Z",
                    "latency_ms": 41.5,
                    "cached": False,
                    "metadata": {"channel": "general"},
                    "event": None,
                }
            ]
        },
    )

    verdict_id: VerdictId
    """uuid5 of the input record's topic, partition, offset and timestamp: the same after a redelivery. Dedupe by it."""
    event_id: str
    """The event's id, as the sender gave it."""
    conversation_id: str
    """The conversation's id, as the sender gave it."""
    tenant: str | None = None
    """The event's tenant; null where it names none."""
    label: Label
    """The answer: where the verdict goes."""
    reasons: tuple[Reason, ...]
    """Why this label. Empty for a plain `safe`."""
    explanation: str = ""
    """The label and its reasons in one line for people, without any content. Its words may change; machines read
    `reasons` and `scores`."""
    violated_categories: tuple[CategoryKey, ...] = ()
    """The violated category keys of the policy, in the guard's order; those that it ignores among them."""
    prompt_attack: bool = False
    """True where Prompt Guard's score reaches the policy's threshold."""
    judged_role: Literal["user", "assistant"]
    """Whose turn was judged: the last message's. Tool messages belong to the user's turn."""
    scores: Scores
    """What the label follows from, with the policy's thresholds."""
    policy: PolicyRef
    """The policy that was applied."""
    models: tuple[ModelRef, ...]
    """The models that judged."""
    coverage: Coverage
    """What was judged of the content."""
    source: Source
    """The record that this verdict answers."""
    decided_at: datetime
    """When the verdict was made (UTC)."""
    latency_ms: float
    """Milliseconds from the record's arrival in the worker to the decision."""
    cached: bool = False
    """True where the event was not judged itself: identical messages were, under the same policy and by the same
    models, before it or at the same moment. Never for review."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The event's metadata, as it came."""
    event: ChatEvent | None = None
    """The event itself, on review verdicts only and only by setting."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Verdict":
        """The verdict that has these values: of all fields, in their order, and none of them needs a check. At a third
        of what the constructor takes."""
        verdict = cls.__new__(cls)
        verdict.__dict__ = values
        return verdict

    def to_json(self) -> bytes:
        """The record's value: UTF-8 JSON. Times without an offset are UTC."""
        return orjson.dumps(vars(self), default=_fields, option=UTC_TIMES)


VERDICT: Final = TypeAdapter(Verdict)


def verdict_id_of(topic: str, partition: int, offset: int, timestamp_ms: int) -> uuid.UUID:
    """The deterministic id of the verdict on an input record: uuid5 of `topic/partition/offset/timestamp_ms`."""
    return uuid.UUID(spelled_id_of(topic, partition, offset, timestamp_ms))


def spelled_id_of(topic: str, partition: int, offset: int, timestamp_ms: int) -> str:
    """The same as text, as verdicts have it: at a sixth of the cost of uuid.uuid5."""
    digest = _NAMED.copy()
    digest.update(f"{topic}/{partition}/{offset}/{timestamp_ms}".encode())
    digits = digest.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"


def _fields(value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is not of a verdict")
