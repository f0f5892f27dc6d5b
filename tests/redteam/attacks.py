"""Attacks as data: `tests/redteam/*.toml`, a family a file, and the events that they describe.

A family says in a sentence what the worker itself stops and what is left to the models. Of an attack:

- what is sent: `content` (between `before` and `after`: a text, and how often), `tags` (ASCII as tag characters),
  `pictures` and `frames` (drawn text), or `messages` as they are; `repeat_messages` and `repeat_turns` come before them
- what must become of it, whatever the models say: `neutralised` delimiters, `complete`, `turns_dropped` (at least),
  `images`, `judged_role`, `llama_guard_windows` (at least), what `prompt_guard_reads` and `llama_guard_reads`, what is
  `absent` from prompts, or which `dead_letter`
- `stopped_by`: who has to, `worker` where it does not say
"""

import base64
import io
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
ORDER = ("delimiters", "roles", "splitting", "padding", "invisible", "encoded", "images")


@dataclass(frozen=True)
class Attack:
    """One attack: the value of its record, and what must become of it."""

    id: str
    stopped_by: Literal["worker", "model"]
    messages: list[dict[str, Any]]
    expected: dict[str, Any]

    @property
    def value(self) -> bytes:
        """The record's value."""
        document = {"event_id": self.id, "conversation_id": "redteam", "messages": self.messages}
        return json.dumps(document).encode()  # in ASCII: half a surrogate pair may be in it


@dataclass(frozen=True)
class Family:
    """Attacks of one kind."""

    name: str
    worker: str  # what it stops itself
    models: str  # what is left to them
    attacks: tuple[Attack, ...]


_SENT = frozenset(
    [
        "id",
        "stopped_by",
        "messages",
        "content",
        "before",
        "after",
        "tags",
        "pictures",
        "frames",
        "surrogate",
        "repeat_messages",
        "repeat_turns",
    ]
)
_EXPECTED = frozenset(
    [
        "neutralised",
        "complete",
        "turns_dropped",
        "images",
        "judged_role",
        "llama_guard_windows",
        "dead_letter",
        "prompt_guard_reads",
        "llama_guard_reads",
        "absent",
    ]
)


def families() -> list[Family]:
    """All of them, in the order of the page."""
    return [_family(tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))) for name in ORDER]


def _family(document: dict[str, Any]) -> Family:
    attacks = tuple(_attack(row) for row in document.pop("attack"))
    return Family(document["family"], document["worker"], document["models"], attacks)


def _attack(row: dict[str, Any]) -> Attack:
    unknown = row.keys() - _SENT - _EXPECTED
    assert not unknown, f"{row['id']}: unknown keys {unknown}"
    expected = {name: value for name, value in row.items() if name in _EXPECTED}
    return Attack(row["id"], row.get("stopped_by", "worker"), list(_messages(row)), expected)


def _messages(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if many := row.get("repeat_messages"):
        yield from ({"role": many["role"], "content": many["content"]} for _ in range(many["times"]))
    if turns := row.get("repeat_turns"):
        roles = ("user", "assistant")
        yield from (
            {"role": role, "content": said}
            for _ in range(turns["times"])
            for role, said in zip(roles, turns["contents"], strict=True)
        )
    for message in row.get("messages", ()):
        yield {"role": message["role"], "content": message["content"] * message.get("repeat", 1)}
    text = _repeated(row.get("before")) + row.get("content", "") + _repeated(row.get("after"))
    text += "".join(chr(0xE0000 + ord(sign)) for sign in row.get("tags", ""))
    text += "\ud83d" * row.get("surrogate", False)
    pictures = [_file([_drawn(words)]) for words in row.get("pictures", ())]
    pictures += [_file([_drawn(words) for words in row["frames"]])] if "frames" in row else []
    if pictures:
        images = [{"type": "image", "data": base64.b64encode(each).decode()} for each in pictures]
        yield {"role": "user", "content": [*images, {"type": "text", "text": text or "look at this"}]}
    elif text:
        yield {"role": "user", "content": text}


def _repeated(given: dict[str, Any] | None) -> str:
    return "" if given is None else str(given["repeat"]) * int(given["times"])


def _drawn(words: str) -> Image.Image:
    picture = Image.new("RGB", (240, 48), "white")
    ImageDraw.Draw(picture).text((8, 16), words, fill="black")
    return picture


def _file(frames: Sequence[Image.Image]) -> bytes:
    file = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(file, "GIF" if more else "PNG", **more)
    return file.getvalue()
