"""Turns: messages of four roles as an alternation of two."""

import subprocess
import sys
from typing import Any

import pytest

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.guards.turns import Turn, judged_role, turns_of, user_first


def event(*messages: tuple[str, Any]) -> ChatEvent:
    chat = [{"role": role, "content": content} for role, content in messages]
    return ChatEvent.model_validate({"event_id": "e", "conversation_id": "c", "messages": chat})


def said(*messages: tuple[str, Any]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns_of(event(*messages))]


def test_consecutive_messages_of_one_role_are_one_turn() -> None:
    chat = [("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), ("user", "e")]
    assert said(*chat) == [("user", "a\nb"), ("assistant", "c\nd"), ("user", "e")]


def test_tool_messages_belong_to_the_users_turn() -> None:
    assert said(("user", "a"), ("assistant", "b"), ("tool", "c"), ("user", "d"))[-1] == ("user", "c\nd")
    assert judged_role(event(("user", "a"), ("tool", "b"))) == "user"


def test_system_messages_are_in_no_turn() -> None:
    assert said(("system", "x"), ("user", "a"), ("system", "y"), ("user", "b")) == [("user", "a\nb")]


def test_an_assistant_turn_at_the_beginning_gets_an_empty_user_turn_before_it() -> None:
    turns = turns_of(event(("system", "x"), ("assistant", "hello")))
    assert [(turn.role, turn.text, len(turn.messages)) for turn in turns] == [
        ("user", "", 0),
        ("assistant", "hello", 1),
    ]


def test_a_system_message_at_the_end_leaves_nothing_to_judge() -> None:
    for look in (turns_of, judged_role):
        with pytest.raises(Unjudgeable) as caught:
            look(event(("user", "a"), ("system", "b")))
        assert (caught.value.error_type, caught.value.stage) == ("nothing_to_judge", Stage.PREPARE)


def test_images_keep_their_order_and_messages_stay_at_hand() -> None:
    picture = {"type": "image", "data": "AAAA"}
    other = {"type": "image_url", "image_url": {"url": "data:,"}}
    (turn,) = turns_of(event(("user", [picture, {"type": "text", "text": "x"}]), ("tool", [other])))
    assert [image.type for image in turn.images] == ["image", "image_url"]
    assert [message.role for message in turn.messages] == ["user", "tool"]


def test_user_first_leaves_an_alternation_as_it_is() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "b"))
    assert user_first(turns) == turns
    assert [turn.role for turn in user_first(turns[1:])] == ["user", "assistant"]


def test_the_protocol_and_the_turns_come_without_torch() -> None:
    look = "import sys, worker.guards.guard, worker.guards.turns; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
