"""Why a record cannot be judged: the one exception that leads to a dead letter."""

from enum import StrEnum
from typing import Final

CAUSES: Final = (
    "tombstone",
    "not_utf8",
    "not_json",
    "too_deep",
    "unreadable_record",
    "invalid_event",
    "unknown_policy",
    "nothing_to_judge",
    "image_not_base64",
    "image_too_large",
    "image_unreadable",
    "image_url_not_allowed",
    "image_fetch_failed",
    "prepare_failed",
    "killed_the_worker",
    "verdict_too_large",
)
"""Every `error_type` of this worker, in the order of an event's way."""


class Stage(StrEnum):
    """Where on its way a record was found to be unjudgeable."""

    READ = "read"  # bytes -> ChatEvent
    POLICY = "policy"  # ChatEvent -> Policy
    PREPARE = "prepare"  # ChatEvent x Policy -> checks
    JUDGE = "judge"  # anywhere between: the process was killed
    PUBLISH = "publish"  # outcome -> Kafka


class Unjudgeable(Exception):
    """The record cannot be judged, now or later: it becomes a dead letter with this cause.

    `error_type` is a stable snake_case word for machines (a header and a metric label), `message` a sentence for
    people that names the place and never repeats message content.
    """

    def __init__(self, error_type: str, message: str, stage: Stage) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.stage = stage
