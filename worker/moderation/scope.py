"""Scope: what of an event its policy wants judged."""

from dataclasses import dataclass

from worker.contract.chat_event import ChatEvent, Message
from worker.contract.verdict import Reason
from worker.guards.turns import judged_role, turns_of
from worker.policy.policy import Policy


@dataclass(slots=True)  # frozen ones are made at twice the cost, and this is made for every event
class Scope:
    """What the guards are to see, and what the verdict is to say of the rest."""

    event: ChatEvent | None  # None: nothing of it is judged
    reasons: tuple[Reason, ...] = ()  # ROLE_NOT_JUDGED, IMAGES_IGNORED, IMAGE_REVIEW


def scope_of(event: ChatEvent, policy: Policy) -> Scope:
    """The scope of an event under a policy. Raises Unjudgeable (`nothing_to_judge`) where the last message is a system
    message and the policy does not judge everything: else the guards' preparation does."""
    if policy.judges_all:  # as nearly all do
        return Scope(event)
    if judged_role(event) not in policy.judged_roles:
        return Scope(None, (Reason.ROLE_NOT_JUDGED,))
    if policy.images == "judge" or not any(message.images for message in event.messages):
        return Scope(event)
    in_judged_turn = bool(turns_of(event)[-1].images)
    if policy.images == "review":
        return Scope(event, (Reason.IMAGE_REVIEW,) if in_judged_turn else ())
    bare = event.model_copy(update={"messages": tuple(map(_without_images, event.messages))})
    return Scope(bare, (Reason.IMAGES_IGNORED,) if in_judged_turn else ())


def _without_images(message: Message) -> Message:
    return message.model_copy(update={"content": message.text}) if message.images else message
