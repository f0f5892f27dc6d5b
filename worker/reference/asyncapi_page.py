"""docs/asyncapi.md: schemas/asyncapi.json for people."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from worker.reference.asyncapi import FILE, Object, document

_HEAD = f"""\
# Topics and records

[schemas/{FILE}](../schemas/{FILE}) (AsyncAPI 3) for people: what is on which topic, in which form, and who
sends it. Code generators and catalogues read the file itself. In words: [the contract](contract.md).

This page is generated: `make schemas`.

"""


def asyncapi_page() -> str:
    """The page's text."""
    whole = document()
    return _HEAD + "\n".join(_page(whole)) + "\n"


def _page(whole: Object) -> Iterator[str]:
    yield whole["info"]["description"] + "\n"
    yield "| topic | record | the worker | group | what |\n|---|---|---|---|---|"
    by_channel = {_last(each["channel"]["$ref"]): each for each in whole["operations"].values()}
    for name, channel in whole["channels"].items():
        operation = by_channel[name]
        does = "reads" if operation["action"] == "receive" else "writes"
        group = operation["bindings"]["kafka"].get("groupId", {}).get("default", "")
        message = whole["components"]["messages"][next(iter(channel["messages"]))]["title"]
        about = f"{channel['description']} {operation['summary']}"
        yield f"| `{channel['address']}` | {_link(message)} | {does} | {group and f'`{group}`'} | {about} |"
    told: dict[tuple[str, ...], str] = {}  # what a record is made of -> the title under which that is told
    for message in whole["components"]["messages"].values():
        made_of = tuple(str(message.get(kind)) for kind in ("headers", "payload"))
        yield from _message(message, whole, told.setdefault(made_of, message["title"]))
    yield "\n## Parts\n"
    yield "Objects and words that the records above are made of."
    inner = {name: each for name, each in whole["components"]["schemas"].items() if name not in _records(whole)}
    for name, schema in sorted(inner.items()):
        yield from _part(name, schema)


def _records(whole: Object) -> set[str]:
    """The schemas that are a whole payload, or all headers."""
    messages = whole["components"]["messages"].values()
    both = (message.get(kind, {}).get("$ref", "") for message in messages for kind in ("payload", "headers"))
    return {_last(each) for each in both}


@cache
def _titles() -> dict[str, str]:
    """Schemas of whole payloads, and the titles of these records."""
    messages = document()["components"]["messages"].values()
    return {_last(each["payload"].get("$ref", "")): each["title"] for each in reversed(messages)}


def _message(message: Object, whole: Object, told_under: str) -> Iterator[str]:
    yield f"\n## {message['title']}\n"
    key = message["bindings"]["kafka"]["key"]["description"]
    yield f"{message['summary']} `{message['contentType']}`. Key: {key}"
    if "correlationId" in message:
        about = message["correlationId"]
        yield f"Correlation: `{about['location'].removeprefix('$message.')}`. {about['description']}"
    if told_under == message["title"]:
        yield from _made_of(message, whole)
    else:
        yield f"\nHeaders and value are those of a {_link(told_under)}."
    for example in message["examples"]:
        yield f"\n<details><summary>Example: {example['name']}</summary>\n"
        yield from (_json(example[kind]) for kind in ("headers", "payload") if kind in example)
        yield "\n</details>"


def _made_of(message: Object, whole: Object) -> Iterator[str]:
    if "headers" in message:
        yield "\n**Headers**\n"
        yield from _fields(_of(message["headers"], whole))
    yield "\n**Value**\n"
    payload = _of(message["payload"], whole)
    if "properties" in payload:
        yield from _fields(payload)
    else:
        yield payload["description"]


def _part(name: str, schema: Object) -> Iterator[str]:
    yield f"\n### {name}\n"
    yield schema.get("description", "")
    if "properties" in schema:
        yield ""
        yield from _fields(schema)
    elif "enum" in schema:
        yield f"\nOne of {', '.join(f'`{each}`' for each in schema['enum'])}."


def _fields(schema: Object) -> Iterator[str]:
    yield "| name | type | meaning |\n|---|---|---|"
    needed = schema.get("required", ())
    for name, each in schema["properties"].items():
        meaning = " ".join(each.get("description", "").split()).replace("|", "\\|")
        yield f"| `{name}`{'' if name in needed else ' (optional)'} | {_type(each)} | {meaning} |"


def _type(schema: Object) -> str:
    if "$ref" in schema:
        name = _last(schema["$ref"])
        return _link(_titles().get(name, name))
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, kinds)))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    words = [str(schema.get("type", "anything")), *_bounds(schema)]
    return ", ".join(words)


def _bounds(schema: Object) -> Iterator[str]:
    names = {"format": "{}", "pattern": "`{}`", "maxLength": "at most {} characters"}
    names |= {"minimum": "from {}", "maximum": "to {}"}
    for name, words in names.items():
        if name in schema:
            yield words.format(schema[name]).replace("|", "\\|")


def _of(reference: Object, whole: Object) -> Object:
    schema: Any = whole["components"]["schemas"][_last(reference["$ref"])] if "$ref" in reference else reference
    return dict(schema)


def _link(title: str) -> str:
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
