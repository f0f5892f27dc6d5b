"""Content keys: what is identical to the guards under a policy has the same key."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from worker.contract.chat_event import ChatEvent, ImagePart, ImageUrlPart, Message, TextPart
from worker.policy.policy import Policy

LARGE: Final = 1 << 19
"""Characters: to spell and hash more than that takes a millisecond and more."""


def characters_held(event: ChatEvent) -> int | None:
    """How long the content is; None where the event does not hold all of it: the picture behind an https URL may be
    another one the next time."""
    held = 0
    for message in event.messages:
        content = message.content
        if isinstance(content, str):
            held += len(content)
        elif all(map(_is_held, message.images)):
            held += sum([len(_part(part)[1]) for part in content])
        else:
            return None
    return held


def content_key(event: ChatEvent, policy: Policy) -> bytes:
    """A digest (32 bytes) of the event's messages and all of the policy: of what the guards and the decision see.

    Nothing else of an event may change a judgement. Senders choose the content, so the digest is one for which nobody
    can make two contents with the same key.
    """
    digest = _begun(policy.canonical).copy()  # a JSON object: it is clear where it ends
    digest.update(_spelled(event.messages))
    return digest.digest()


@lru_cache(1024)
def _begun(canonical: bytes) -> "hashlib._Hash":
    """The digest of what every key of a policy begins with."""
    return hashlib.sha256(canonical)


def _spelled(messages: Sequence[Message]) -> bytes:
    """The messages with the length of everything before it: no two sequences of messages are spelled the same."""
    spelled = []
    for message in messages:
        content = message.content
        if isinstance(content, str):
            spelled.append(f"{message.role} string {len(content)}:{content}")
        else:
            spelled.append(f"{message.role} parts {len(content)}:{''.join(map(_spelled_part, content))}")
    return "".join(spelled).encode("utf-8", "surrogatepass")  # a key for what no guard can take, too


def _spelled_part(part: TextPart | ImagePart | ImageUrlPart) -> str:
    kind, content = _part(part)
    return f"{kind} {len(content)}:{content}"


def _part(part: TextPart | ImagePart | ImageUrlPart) -> tuple[str, str]:
    if isinstance(part, TextPart):
        return "text", part.text
    if isinstance(part, ImageUrlPart):
        return "image_url", part.image_url.url
    return ("image data", part.data) if part.data is not None else ("image url", part.url or "")


def _is_held(image: ImagePart | ImageUrlPart) -> bool:
    kind, source = _part(image)
    return kind == "image data" or source[:5].lower() == "data:"
