"""Planner: from a conversation to the prompts that cover its last turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from worker.contract.errors import Unjudgeable
from worker.guards.llama_guard.delimiters import neutralise
from worker.guards.llama_guard.images import ImageReader, is_whole
from worker.guards.llama_guard.prompts import Prompt, Prompts, PromptTurn, clean
from worker.guards.llama_guard.windows import WindowSize, cut_windows
from worker.guards.turns import Turn

# No prompt is rendered, and no text counted, with more characters a token than this: only runs of blanks have more.
_MOST_CHARACTERS_PER_TOKEN: Final = 16
_SLACK: Final = 16  # tokens by which a text may differ inside and outside of a prompt


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What the prompts of one event may be."""

    window: WindowSize
    context_tokens: int  # of a whole prompt
    max_images: int  # of one event


@dataclass(frozen=True, slots=True)
class Plan:
    """The prompts of one event, and what they cover."""

    prompts: tuple[Prompt, ...]
    images: int
    turns_dropped: int
    complete: bool  # False: part of the judged turn is in no prompt
    delimiters_neutralised: int  # in the texts of its turns


class Planner:
    """Plans prompts. Thread-safe.

    The judged turn is always there, in windows where it is long. Of the turns before it, the oldest are left out until
    the prompt fits; so are those from one on whose images are beyond the event's limit or cannot be read. Where images
    do not fit beside the text, they are judged in further prompts, each with the first window. Imitations of the
    template's delimiters are neutralised.
    """

    def __init__(self, prompts: Prompts, reader: ImageReader, limits: PlanLimits) -> None:
        self._prompts, self._reader, self._limits = prompts, reader, limits
        empty = [PromptTurn("user", ""), PromptTurn("assistant", ""), PromptTurn("user", "")]
        # What the template writes around a turn; many small turns are mostly that.
        self._frame_tokens = (len(prompts.render(empty)) - len(prompts.render(empty[:1])) + 1) // 2

    def plan(self, turns: Sequence[Turn], excluded: Sequence[str]) -> Plan:
        """The plan for the last of the turns (see `turns_of`). Raises Unjudgeable where it has an unreadable image."""
        judged, context = turns[-1], [turn for turn in turns[:-1] if turn.messages]
        pictures = tuple(self._reader.read(part) for part in judged.images[: self._limits.max_images])
        text, neutralised = neutralise(clean(judged.text))
        windows = cut_windows(text, self._prompts.token_spans, self._limits.window)
        history = self._history(context, self._limits.max_images - len(pictures))
        pieces = [PromptTurn(judged.role, text) for text in windows.texts]
        prompts: tuple[Prompt, ...] = ()
        if len(pieces) == 1:
            prompts = self._render(history, [replace(pieces[0], images=pictures)], excluded)
        if not prompts or not self._fit(prompts):
            pieces = self._with_pictures(pieces, pictures, excluded)
            history, prompts = self._shortened(history, pieces, excluded)
        dropped = len(context) - len(history)
        return Plan(
            prompts,
            images=len(pictures) + sum(len(turn.images) for turn in history),
            turns_dropped=dropped,
            complete=windows.complete and len(pictures) == len(judged.images) and all(map(is_whole, pictures)),
            delimiters_neutralised=neutralised + sum(neutralise(turn.text)[1] for turn in context[dropped:]),
        )

    def _history(self, context: Sequence[Turn], images: int) -> list[PromptTurn]:
        """The newest turns that can possibly fit, with their pictures; up to the first one that cannot be read."""
        characters = self._limits.context_tokens * _MOST_CHARACTERS_PER_TOKEN
        history: list[PromptTurn] = []
        for turn in reversed(context):
            characters -= len(turn.text) + self._frame_tokens * _MOST_CHARACTERS_PER_TOKEN // 2
            images -= len(turn.images)
            if characters < 0 or images < 0:
                break
            try:
                pictures = tuple(self._reader.read(part) for part in turn.images)
            except Unjudgeable:  # told where it is in the judged turn; what is said since is judged nonetheless
                break
            history.append(PromptTurn(turn.role, neutralise(clean(turn.text))[0], pictures))
        return history[::-1]

    def _with_pictures(
        self, windows: Sequence[PromptTurn], pictures: Iterable[Image.Image], excluded: Sequence[str]
    ) -> list[PromptTurn]:
        """The windows, the first one with as many pictures as fit, and further pieces for the other pictures."""
        first, empty = windows[0], replace(windows[0], text="")
        costs = [(picture, self._image_tokens(picture)) for picture in pictures]
        if not costs:
            return list(windows)
        whole = self._limits.context_tokens - len(self._prompts.render(_alternating([empty]), excluded)) - _SLACK
        room = whole - self._text_tokens(first.text)
        if any(cost > room for _, cost in costs):
            first, room = empty, whole
        groups: list[list[Image.Image]] = [[]]
        free = room
        for picture, cost in costs:
            if cost > free and groups[-1]:
                groups.append([])
                free = room
            groups[-1].append(picture)
            free -= cost
        beside = [replace(first, images=tuple(group)) for group in groups]
        alone = windows if first is empty and windows[0].text else windows[1:]
        return [*beside, *alone]

    def _shortened(
        self, history: list[PromptTurn], pieces: Sequence[PromptTurn], excluded: Sequence[str]
    ) -> tuple[list[PromptTurn], tuple[Prompt, ...]]:
        """The newest of the history that fits beside each of the pieces, and the prompts."""
        if len(pieces) > 1:  # pictures of the past would be decoded into every one of them
            pictured = [number for number, turn in enumerate(history) if turn.images]
            history = history[pictured[-1] + 1 :] if pictured else history
        prompts = self._render([], pieces, excluded)
        room = self._limits.context_tokens - max(map(len, prompts))
        kept: list[PromptTurn] = []
        for turn in reversed(history):
            room -= self._frame_tokens + self._text_tokens(turn.text) + sum(map(self._image_tokens, turn.images))
            if room < 0:
                break
            kept.insert(0, turn)
        while kept:
            with_history = self._render(kept, pieces, excluded)
            excess = max(map(len, with_history)) - self._limits.context_tokens
            if excess <= 0:
                return kept, with_history
            kept = kept[1 + excess * len(kept) // self._limits.context_tokens :]
        return [], prompts

    def _render(
        self, history: Sequence[PromptTurn], pieces: Sequence[PromptTurn], excluded: Sequence[str]
    ) -> tuple[Prompt, ...]:
        return tuple(self._prompts.render(_alternating([*history, piece]), excluded) for piece in pieces)

    def _fit(self, prompts: Iterable[Prompt]) -> bool:
        return all(len(prompt) <= self._limits.context_tokens for prompt in prompts)

    def _text_tokens(self, text: str) -> int:
        """The tokens of a text; of one that cannot fit anyway, more than a prompt has."""
        if len(text) > self._limits.context_tokens * _MOST_CHARACTERS_PER_TOKEN:
            return self._limits.context_tokens + 1
        return len(self._prompts.token_spans(text))

    def _image_tokens(self, picture: Image.Image) -> int:
        """The tokens of an image, at most `_SLACK` too many."""
        with_it, without = (len(self._prompts.render([PromptTurn("user", "", it)])) for it in ((picture,), ()))
        return with_it - without + _SLACK  # a prompt with an image is a category (S14) shorter


def _alternating(turns: Sequence[PromptTurn]) -> list[PromptTurn]:
    return [PromptTurn("user", ""), *turns] if turns[0].role == "assistant" else list(turns)
