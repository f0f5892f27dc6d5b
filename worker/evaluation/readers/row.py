"""A row (of JSON, CSV or parquet) -> a labelled example."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from worker.contract.chat_event import ChatEvent, Role, read_chat_event
from worker.contract.errors import Unjudgeable
from worker.evaluation.labelled_example import (
    ENGLISH,
    MULTI_IMAGE,
    MULTILINGUAL,
    SINGLE_IMAGE,
    UNGROUPED,
    BadRow,
    LabelledExample,
    Place,
    TrueLabel,
    known_group,
)
from worker.evaluation.readers.fields import (
    CATEGORY_FIELDS,
    GROUP_FIELDS,
    ID_FIELDS,
    LABEL_FIELDS,
    LANGUAGE_FIELDS,
    TEXT_FIELDS,
    RowFields,
    read_categories,
)

_IMAGE_FIELDS = ("image", "images")
_TRUE_LABELS: dict[bool, TrueLabel] = {True: "unsafe", False: "safe"}


def example_of(row: Any, place: Place, fields: RowFields) -> LabelledExample:
    """The example in a row. Raises BadRow."""
    if not isinstance(row, Mapping):
        raise BadRow("not an object with named fields")
    _, given_id = fields.first(row, fields.id, ID_FIELDS)
    event = _event(row, str(given_id) if given_id is not None else f"{place}", fields)
    label, attack = _labels(row, fields)
    _, categories = fields.first(row, fields.category, CATEGORY_FIELDS)
    source = row.get("label_source")
    return LabelledExample(
        id=str(given_id) if given_id is not None else event.event_id,
        event=event,
        place=place,
        label=label,
        categories=read_categories(categories),
        group=_group(row, event, fields),
        prompt_attack=attack,
        label_source=None if source is None else str(source),
    )


def _labels(row: Mapping[str, Any], fields: RowFields) -> tuple[TrueLabel | None, bool | None]:
    column, value = fields.first(row, fields.label, LABEL_FIELDS)
    label: TrueLabel | None = None
    attack: bool | None = None
    if column and fields.label_means == "prompt-attack":
        attack = fields.is_unsafe(value, column)
    elif column:
        label = _TRUE_LABELS[fields.is_unsafe(value, column)]
    said = row.get("prompt_attack")
    if said is not None and said != "":
        attack = fields.is_unsafe(said, "prompt_attack")
    if label is None and attack is None:
        raise BadRow(
            f"no label: none of {', '.join(LABEL_FIELDS)} or prompt_attack has a value; --label-column names another"
        )
    return label, attack


def _event(row: Mapping[str, Any], name: str, fields: RowFields) -> ChatEvent:
    """The event itself, its messages, or one made of text, a response and images."""
    document = row.get("event") if isinstance(row.get("event"), Mapping) else None
    if document is None:
        messages = row.get("messages")
        document = {"messages": messages if messages is not None and fields.text is None else _messages(row, fields)}
    named = {"event_id": name[:512] or "-", "conversation_id": name[:512] or "-"}
    try:
        # Read as a record is: the same leniency, and errors that name the field and never the content.
        return read_chat_event(orjson.dumps({**named, **document, "policy": None}))
    except Unjudgeable as cause:
        raise BadRow(cause.message) from None
    except (TypeError, orjson.JSONEncodeError) as error:
        raise BadRow(f"the event: {error}") from None


def _messages(row: Mapping[str, Any], fields: RowFields) -> list[dict[str, Any]]:
    column, text = fields.first(row, fields.text, TEXT_FIELDS)
    images = [_image(each) for name in _IMAGE_FIELDS for each in _listed(row.get(name))]
    if not column and not images:
        raise BadRow(
            f"nothing to judge: none of event, messages, {', '.join(TEXT_FIELDS)}, image has a value; "
            "--text-column names another"
        )
    if column and not isinstance(text, str):
        raise BadRow(f"{column}: is {type(text).__name__}, not text")
    role = row.get("role")
    messages = [_message("assistant" if role == "assistant" else "user", text or "", images)]
    response = row.get("response")
    if isinstance(response, str) and response:
        messages.append(_message("assistant", response, []))
    return messages


def _message(role: Role, text: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": [*images, {"type": "text", "text": text}] if images else text}


def _listed(value: Any) -> list[Any]:
    return [] if value is None or value == "" else list(value) if isinstance(value, list | tuple) else [value]


def _image(value: Any) -> dict[str, Any]:
    """An image part: Hugging Face's {"bytes", "path"}, raw bytes, base64, or a URL."""
    found = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(found, bytes):
        return {"type": "image", "data": base64.b64encode(found).decode()}
    if isinstance(found, str):
        return {"type": "image", "url" if found.startswith(("https:", "data:")) else "data": found}
    raise BadRow("image: neither bytes, base64 nor a URL")


def _group(row: Mapping[str, Any], event: ChatEvent, fields: RowFields) -> str:
    _, named = fields.first(row, fields.group, GROUP_FIELDS)
    _, language = fields.first(row, None, LANGUAGE_FIELDS)
    group = str(named) if named is not None else fields.default_group
    if group is None:
        images = sum(len(message.images) for message in event.messages)
        if images:
            return SINGLE_IMAGE if images == 1 else MULTI_IMAGE
        if language is None:
            return UNGROUPED
        word = str(language).strip().lower()
        group = ENGLISH if word in ("en", "eng", "english") else f"{MULTILINGUAL}/{word}"
    if not known_group(group, fields.own_groups):
        raise BadRow(
            f"unknown group {group[:40]!r}; known are english, multilingual/<language>, single_image, multi_image; "
            "--group allows another"
        )
    return group
