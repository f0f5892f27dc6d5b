"""Prompts: conversations rendered and tokenised by the checkpoint's own chat template, on any thread."""

import copy
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from worker.contract.surrogates import with_whole_surrogates
from worker.guards.turns import TurnRole


@dataclass(frozen=True, slots=True)
class PromptTurn:
    """A turn as the template sees it: pictures first, then the text."""

    role: TurnRole
    text: str
    images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A rendered conversation of n tokens."""

    ids: Tensor  # [n], int32, on the CPU
    pixels: Tensor | None  # [tiles, 3, height, width], bfloat16, of all its images in their order
    excluded: tuple[str, ...]  # category keys left out of the prompt
    judged: TurnRole

    def __len__(self) -> int:
        return len(self.ids)


class Prompts:
    """Renders prompts with a processor's chat template.

    Thread-safe: transformers toggles a flag on the shared tokenizer while it encodes control tokens in text as plain
    text, so that two threads on one tokenizer produce wrong ids. Each rendering borrows a copy of its own.
    """

    def __init__(self, processor: Any, max_image_tiles: int | None = None) -> None:
        """`max_image_tiles` lowers the processor's own bound of tiles an image, besides its overview tile."""
        self._original = copy.deepcopy(processor)
        self._original.tokenizer.model_max_length = sys.maxsize  # only warns, of prompts that are then found too long
        if max_image_tiles is not None:
            pictures = self._original.image_processor
            pictures.max_patches = min(max_image_tiles, pictures.max_patches)
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def render(self, turns: Sequence[PromptTurn], excluded: Sequence[str] = ()) -> Prompt:
        """The prompt that asks about the last turn. Turns alternate, the user's first.

        Special-token text in the turns stays text. Lone surrogates become U+FFFD.
        """
        conversation = [{"role": turn.role, "content": _parts(turn)} for turn in turns]
        with self._processor() as processor:
            encoded = processor.apply_chat_template(
                [conversation],
                tokenize=True,
                return_dict=True,
                sanitize_control_tokens=True,
                excluded_category_keys=list(excluded),
            )
        pixels = encoded.get("pixel_values")  # a list: one [tiles, 3, height, width] an image
        return Prompt(
            ids=torch.tensor(encoded["input_ids"][0], dtype=torch.int32),
            pixels=None if pixels is None else torch.cat(list(pixels)),
            excluded=tuple(excluded),
            judged=turns[-1].role,
        )

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a plain text begins and ends, in characters. Tokens of one character may share it.

        `text` must be clean (see `clean`), so that the places are those of the given text.
        """
        with self._processor() as processor:
            encoded = processor.tokenizer(
                text,
                add_special_tokens=False,
                split_special_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
        return list(encoded["offset_mapping"])

    @contextmanager
    def _processor(self) -> Iterator[Any]:
        with self._lock:
            processor = self._idle.pop() if self._idle else None
            if processor is None:
                processor = copy.deepcopy(self._original)  # under the lock: nobody ever encodes with the original
        try:
            yield processor
        finally:
            with self._lock:
                self._idle.append(processor)


def clean(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced by U+FFFD; pairs become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return with_whole_surrogates(text)
    return text


def _parts(turn: PromptTurn) -> list[dict[str, Any]]:
    # Always a text part: the template may place no image without one.
    images = [{"type": "image", "image": image} for image in turn.images]
    return [*images, {"type": "text", "text": clean(turn.text)}]
