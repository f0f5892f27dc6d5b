"""Turns: a chat event's messages as an alternation of user and assistant, which Llama Guard's template demands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from worker.contract.chat_event import ChatEvent, ImagePart, ImageUrlPart, Message, Role
from worker.contract.errors import Stage, Unjudgeable

TurnRole = Literal["user", "assistant"]

_TURN_OF: dict[Role, TurnRole] = {"user": "user", "tool": "user", "assistant": "assistant"}  # system: in no turn


@dataclass(frozen=True, slots=True)
class Turn:
    """Consecutive messages of one side."""

    role: TurnRole
    text: str  # the messages' texts, joined by line breaks
    images: tuple[ImagePart | ImageUrlPart, ...] = ()  # in their order
    messages: tuple[Message, ...] = ()  # what was merged; none in the empty turn that only keeps the alternation


_NOBODY_SPOKE = Turn("user", "")


def turns_of(event: ChatEvent) -> tuple[Turn, ...]:
    """The event's turns, oldest first: user, assistant, user, ... The last one, with the last message, is judged.

    Tool messages belong to the user's turn; system messages are left out. Raises Unjudgeable (`nothing_to_judge`) where
    the last message is a system message.
    """
    judged_role(event)
    merged: list[tuple[TurnRole, list[Message]]] = []
    for message in event.messages:
        role = _TURN_OF.get(message.role)
        if role is None:
            continue
        if merged and merged[-1][0] == role:
            merged[-1][1].append(message)
        else:
            merged.append((role, [message]))
    return user_first([_turn(role, messages) for role, messages in merged])


def user_first(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns, with an empty user turn before them where an assistant turn is the first."""
    return tuple(turns) if turns[0].role == "user" else (_NOBODY_SPOKE, *turns)


def judged_role(event: ChatEvent) -> TurnRole:
    """Whose turn is judged: the last message's. Raises Unjudgeable (`nothing_to_judge`) for a system message."""
    role = _TURN_OF.get(event.messages[-1].role)
    if role is None:
        raise Unjudgeable(
            "nothing_to_judge", "the last message is a system message, which is not judged", Stage.PREPARE
        )
    return role


def _turn(role: TurnRole, messages: Sequence[Message]) -> Turn:
    images = tuple(image for message in messages for image in message.images)
    return Turn(role, "\n".join(message.text for message in messages), images, tuple(messages))
