"""Chat events for tests of the contract."""

import json
from typing import Any

import pytest

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.errors import Stage, Unjudgeable

CANARY = "canary-7f3a"


def document(**changes: Any) -> dict[str, Any]:
    """A good event, with some of its fields changed; None removes a field."""
    event = {"event_id": "e1", "conversation_id": "c1", "messages": [{"role": "user", "content": "hi"}], **changes}
    return {name: value for name, value in event.items() if value is not None}


def saying(content: Any, role: Any = "user") -> dict[str, Any]:
    return document(messages=[{"role": role, "content": content}])


def read(event: Any) -> ChatEvent:
    return read_chat_event(json.dumps(event).encode())


def refused(value: bytes | None) -> Unjudgeable:
    with pytest.raises(Unjudgeable) as caught:
        read_chat_event(value)
    assert caught.value.stage is Stage.READ
    assert str(caught.value) == caught.value.message
    return caught.value
