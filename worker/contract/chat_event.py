"""ChatEvent: one input record, a conversation whose last message is judged."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.surrogates import with_whole_surrogates

Role = Literal["user", "assistant", "tool", "system"]
Identifier = Annotated[str, Field(min_length=1, max_length=512)]

_MOST_ERRORS_NAMED = 3
_MOST_DEPTH = 200  # nested containers; a chat event needs 6, and serialisers fail near 250


class _Part(BaseModel):
    # Unknown keys are accepted: senders pass on provider fields such as OpenAI's `detail`.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class TextPart(_Part):
    """A piece of text."""

    type: Literal["text"]
    """The kind of part."""
    text: str
    """The text, in any language. May be empty."""


class ImagePart(_Part):
    """A picture: its bytes, or where they are."""

    type: Literal["image"]
    """The kind of part."""
    data: str | None = None
    """The image file (PNG, JPEG, WebP, GIF, ...) in base64."""
    url: str | None = None
    """A `data:` URL, or an https URL on an allowed host (fetching is off by default)."""

    @model_validator(mode="after")
    def _one_source(self) -> "ImagePart":
        if (self.data is None) == (self.url is None):
            raise ValueError("an image part needs exactly one of 'data' and 'url'")
        return self


class ImageUrl(_Part):
    """The inner object of OpenAI's image part."""

    url: str
    """A `data:` URL, or an https URL on an allowed host (fetching is off by default)."""


class ImageUrlPart(_Part):
    """A picture in the form of OpenAI's chat API."""

    type: Literal["image_url"]
    """The kind of part."""
    image_url: ImageUrl
    """Where the picture is."""


Part = Annotated[TextPart | ImagePart | ImageUrlPart, Field(discriminator="type")]


# Of a list, the first item that is wrong is told: a megabyte can hold 500,000, which takes seconds to find and to name.
_SOME: Any = Field(min_length=1, fail_fast=True)


def _content_form(value: Any) -> str | None:
    return "string" if isinstance(value, str) else "parts" if isinstance(value, list | tuple) else None


# A tagged union, so that an error names the part that is wrong instead of every form the content could have had.
Content = Annotated[
    Annotated[str, Tag("string")] | Annotated[tuple[Part, ...], _SOME, Tag("parts")],
    Discriminator(
        _content_form,
        custom_error_type="content_form",
        custom_error_message="content must be a string or a list of parts",
    ),
]


class Message(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    role: Role
    """Who speaks. Consecutive messages of one role are one turn; `tool` is folded into the user's turn, `system` is
    not judged."""
    content: Content
    """A string, or a list of text and image parts."""

    @property
    def text(self) -> str:
        """All text of the message, its parts joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart | ImageUrlPart, ...]:
        """The image parts, in their order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if not isinstance(part, TextPart))


class ChatEvent(BaseModel):
    """One chat event: a conversation whose last message is judged."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "event_id": "m-1001",
                    "conversation_id": "c-17",
                    "messages": [{"role": "user", "content": "how do I bake a cake?"}],
                },
                {
                    "event_id": "m-1002",
                    "conversation_id": "c-17",
                    "tenant": "acme",
                    "occurred_at": "2026-05-01T12:00:00Z",
                    "metadata": {"channel": "general"},
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "what is this?"},
                                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                            ],
                        },
                        {"role": "assistant", "content": "A picture of a cake."},
                    ],
                },
            ]
        },
    )

    event_id: Identifier
    """The sender's id of this event; echoed in the verdict."""
    conversation_id: Identifier
    """The sender's id of the conversation; echoed in the verdict."""
    messages: Annotated[tuple[Message, ...], _SOME]
    """The conversation, oldest message first. The last turn is judged: the last message, and those of the same side
    right before it. The others are its context."""
    tenant: Identifier | None = None
    """Whose event this is: chooses the policy where `policy` is absent."""
    policy: Identifier | None = None
    """The policy by name. A name the worker does not know makes the record a dead letter."""
    occurred_at: datetime | None = None
    """When the message was written (RFC 3339)."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Anything; echoed in the verdict, never read."""


_VALIDATE: Callable[[Any], ChatEvent] = TypeAdapter(ChatEvent).validator.validate_python


def read_chat_event(value: bytes | None) -> ChatEvent:
    """The chat event in a record's value (UTF-8 JSON).

    Raises Unjudgeable with `tombstone`, `not_utf8`, `not_json`, `too_deep` or `invalid_event`; its message names the
    field and the fault.
    """
    if value is None:
        raise Unjudgeable("tombstone", "the record has no value (a tombstone)", Stage.READ)
    document = _read_json(value)
    try:
        return _VALIDATE(document)
    except ValidationError as error:
        raise Unjudgeable("invalid_event", _in_words(error), Stage.READ) from None


def _read_json(value: bytes) -> Any:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        document = _read_json_leniently(value, error)
    if len(value) > 2 * _MOST_DEPTH and _brackets(value) > _MOST_DEPTH and _deeper_than(document, _MOST_DEPTH):
        raise Unjudgeable("too_deep", f"the JSON is nested deeper than {_MOST_DEPTH} levels", Stage.READ)
    return document


def _read_json_leniently(value: bytes, cause: orjson.JSONDecodeError) -> Any:
    """A message cut in the middle of an emoji holds half a surrogate pair: readable, so judged, with U+FFFD in its
    place."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unjudgeable("not_utf8", f"the value is not UTF-8 at byte {error.start}", Stage.READ) from None
    if "\\u" in text and "surrogate" in str(cause):
        try:
            return orjson.loads(with_whole_surrogates(json.dumps(json.loads(text), ensure_ascii=False)))
        except (ValueError, RecursionError):
            pass  # not JSON for another reason too: report the first
    kind = "too_deep" if "depth" in str(cause) or "recursion" in str(cause) else "not_json"
    raise Unjudgeable(kind, f"the value is not JSON: {cause.msg} at character {cause.pos}", Stage.READ) from None


def _brackets(value: bytes) -> int:
    return value.count(b"[") + value.count(b"{")


def _deeper_than(document: Any, depth: int) -> bool:
    level = [document]
    for _ in range(depth + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _in_words(error: ValidationError) -> str:
    """The first faults, each with its place; never the input, which is message content."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    # pydantic counts only the valid items: a list with one bad item is too short for it as well.
    around = {fault["loc"][:steps] for fault in faults for steps in range(len(fault["loc"]))}
    faults = [fault for fault in faults if not (fault["type"] == "too_short" and fault["loc"] in around)]
    named = []
    for fault in faults[:_MOST_ERRORS_NAMED]:
        place = ".".join(str(step) for step in fault["loc"] if step not in ("string", "parts")) or "the event"
        named.append(f"{place[:200]}: {_without_values(fault['type'], fault['msg'])}")
    more = f" (and {len(faults) - len(named)} more)" if len(faults) > len(named) else ""
    return "; ".join(named) + more


def _without_values(kind: str, message: str) -> str:
    """pydantic quotes an unknown tag in its message; a sender's text must not get into headers and logs."""
    if kind == "union_tag_invalid":
        return "unknown part type; known are 'text', 'image' and 'image_url'"
    if kind == "too_short":
        return "must not be empty"
    return message.removeprefix("Value error, ")
