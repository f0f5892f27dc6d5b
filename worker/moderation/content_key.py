"""Content keys: what is identical to the guards under a policy has the same key."""

import hashlib
from collections.abc import Sequence
from typing import Final

from worker.contract.chat_event import ChatEvent, ImagePart, ImageUrlPart, Message, TextPart
from worker.policy.policy import Policy

_LARGE: Final = 1 << 19  # characters: to spell and hash more than that takes a millisecond and more


def content_stays(event: ChatEvent) -> bool:
    """Whether the event holds all that is judged: the picture behind an https URL may be another one the next time."""
    return all(isinstance(message.content, str) or all(map(_is_held, message.images)) for message in event.messages)


def is_large(event: ChatEvent) -> bool:
    """Whether its key takes so long that a thread should make it."""
    return sum(map(_length, event.messages)) > _LARGE


def content_key(event: ChatEvent, policy: Policy) -> bytes:
    """A digest (32 bytes) of the event's messages and all of the policy: of what the guards and the decision see.

    Nothing else of an event may change a judgement. Senders choose the content, so the digest is one for which nobody
    can make two contents with the same key.
    """
    digest = hashlib.sha256(policy.canonical)  # a JSON object: it is clear where it ends
    digest.update(_spelled(event.messages))
    return digest.digest()


def _length(message: Message) -> int:
    content = message.content
    return len(content) if isinstance(content, str) else sum(len(_part(part)[1]) for part in content)


def _spelled(messages: Sequence[Message]) -> bytes:
    """The messages as words, after the words' lengths: no two sequences of messages are spelled the same."""
    words: list[str] = []
    for message in messages:
        if isinstance(message.content, str):
            words += (message.role, "string", message.content)
        else:
            words += (message.role, str(len(message.content)))
            for part in message.content:
                words += _part(part)
    lengths = ",".join([str(len(word)) for word in words])
    return f"{lengths}:{''.join(words)}".encode("utf-8", "surrogatepass")  # a key for what no guard can take, too


def _part(part: TextPart | ImagePart | ImageUrlPart) -> tuple[str, str]:
    if isinstance(part, TextPart):
        return "text", part.text
    if isinstance(part, ImageUrlPart):
        return "image_url", part.image_url.url
    return ("image data", part.data) if part.data is not None else ("image url", part.url or "")


def _is_held(image: ImagePart | ImageUrlPart) -> bool:
    kind, source = _part(image)
    return kind == "image data" or source[:5].lower() == "data:"
