"""Errors of guards that a person must act upon."""

from typing import Final

_LONGEST: Final = 300  # characters


class ModelRefused(Exception):  # it reads as what happened, like Unjudgeable
    """A model that must not judge as it is: it would give wrong answers in silence.

    `cause` is a stable snake_case word for machines; `problem` says what is wrong and `remedy` what to do about it,
    both without a full stop.
    """

    def __init__(self, cause: str, problem: str, remedy: str) -> None:
        super().__init__(f"{cause}: {problem}. {remedy}.")
        self.cause = cause
        self.problem = problem
        self.remedy = remedy


class ModelUnavailable(Exception):
    """A model's files cannot be had; the message is one line that says what is wrong and what to do about it."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for a message of one line; its name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:_LONGEST]
