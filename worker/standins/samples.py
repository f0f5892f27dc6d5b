"""Training batches for the Llama Guard stand-in: rows in groups that share a prompt prefix, with hints on tokens."""

import random
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.build import TILE_TOKENS
from worker.standins.corpus import Message, Role, answer, conversation, cut_window, noise, text_message

BEGIN: Final = "<BEGIN CONVERSATION>\nUser:"  # the shared prefix ends here
END: Final = "<END CONVERSATION>"
STOP: Final = "\\n\\n\n\n"  # what the template puts after each message
IGNORED: Final = -100


@dataclass(frozen=True)
class Recipe:
    """What the conversations of one batch are like."""

    role: Role = "user"
    pictured: bool = False
    excluded: tuple[str, ...] = ()
    """Category keys missing in the prompt. The answers name them all the same: the engine drops them."""
    dense: bool = False
    """Up to six phrases a message, and no answer: tags alone."""
    earlier: int = 0
    """Turns before the last one or two."""
    window: bool = False
    """Messages long as windows of long texts, of up to about 256 tokens."""


@dataclass(frozen=True)
class Mix:
    """The shares of the kinds of batches."""

    assistants: float = 0.3
    """Of groups in which the assistant is judged."""
    pictured: float = 0.35
    windows: float = 0.2
    """Of batches without pictures."""


@dataclass
class Row:
    """One sample of n tokens: ids, where the prefix ends and the answer begins, hints, picture tiles."""

    ids: list[int]
    prefix: int
    begin: int
    tags: Tensor
    """[n]: 1 + index of the key of the phrase or picture that ends here, 0 for none; IGNORED elsewhere."""
    bags: Tensor
    """[n, 14]: the keys of the message that stops here, or those still to be named by the answer; -1 elsewhere."""
    tiles: Tensor | None
    """[tiles, 3, height, width] of all pictures."""


@dataclass
class Batch:
    """Rows of several groups: prefixes [groups, P] of true `lengths`, tails [rows, L] with their labels and hints."""

    prefixes: Tensor
    lengths: Tensor
    ids: Tensor
    labels: Tensor
    tags: Tensor
    bags: Tensor
    tiles: Tensor | None


class Samples:
    """An endless, repeatable stream of batches."""

    def __init__(self, processor: Any, rng: random.Random, mix: Mix = Mix()) -> None:  # frozen
        self._processor, self._tokenizer, self._rng = processor, processor.tokenizer, rng
        self._mix = mix
        self._waiting: list[Batch] = []

    def next(self, *, dense: bool = False) -> Batch:
        """The next batch. Rows are drawn double, and the shorter and the longer half become a batch each."""
        if not self._waiting:
            self._waiting = self._draw(dense)
        return self._waiting.pop()

    def restart(self) -> None:
        """Forgets a batch drawn for an earlier stage."""
        self._waiting.clear()

    def _draw(self, dense: bool) -> list[Batch]:
        rng = self._rng
        pictured = rng.random() < self._mix.pictured
        window = not dense and not pictured and rng.random() < self._mix.windows
        earlier = rng.choice([2, 2, 4]) if not dense and not window and rng.random() < 0.15 else 0
        groups, rows = (8, 2) if dense else (2, 6) if window or earlier else (3, 10)
        halves: tuple[list[list[Row]], list[list[Row]]] = ([], [])
        for _ in range(groups):
            excluded = tuple(rng.sample(CATEGORY_KEYS, rng.randint(1, 5))) if rng.random() < 0.15 else ()
            role: Role = "assistant" if rng.random() < self._mix.assistants else "user"
            recipe = Recipe(role, pictured, excluded, dense, earlier, window)
            members = sorted((self._row(recipe) for _ in range(2 * rows)), key=lambda row: len(row.ids))
            halves[0].append(members[:rows])
            halves[1].append(members[rows:])
        return [self._collate(half) for half in halves]

    def _conversation(self, recipe: Recipe) -> list[Message]:
        rng = self._rng
        if recipe.window:
            earlier = rng.choice([0, 0, 0, 2])
            *before, last = conversation(rng, recipe.role, earlier=earlier, filler=rng.randint(8, 30))
            noisy = rng.random() < 0.06
            return [*before, Message(recipe.role, noise(rng)) if noisy else cut_window(rng, last)]
        pictures = rng.choices([1, 2, 3], [55, 37, 8])[0] if recipe.pictured else 0
        messages = conversation(rng, recipe.role, pictures=pictures, earlier=recipe.earlier)
        if len(messages) > 1 and not recipe.pictured and rng.random() < 0.05:
            messages[0] = Message("user", "")  # as where the assistant spoke first
        if recipe.dense:
            possible = CATEGORY_KEYS[:13] if recipe.pictured else CATEGORY_KEYS
            crowded = [text_message(rng, each.role, rng.sample(possible, 6)) for each in messages]
            messages = [
                replace(each, text=full.text, found=full.found) for each, full in zip(messages, crowded, strict=True)
            ]
        return messages

    def _row(self, recipe: Recipe) -> Row:
        messages = self._conversation(recipe)
        prompt, tiles = self._prompt(messages, list(recipe.excluded))
        said = "\n\n" + answer(messages[-1]) + "<|eot|>"
        encoded = self._tokenizer(prompt + said, add_special_tokens=False)
        ids, token_at = encoded["input_ids"], encoded.char_to_token
        cut = prompt.index(BEGIN) + len(BEGIN)
        prefix, stop, begin = token_at(cut), token_at(prompt.index(END, cut)), token_at(len(prompt))
        tags, bags = torch.full((len(ids),), IGNORED), torch.full((len(ids), len(CATEGORY_KEYS)), -1.0)
        tags[prefix:stop] = 0
        self._hint_messages(messages, prompt, cut, token_at, tags, bags)
        _hint_answer(self._tokenizer, ids, begin, messages[-1], bags)
        end = stop if recipe.dense else len(ids)
        return Row(ids[:end], prefix, min(begin, end), tags[:end], bags[:end], tiles)

    def _prompt(self, messages: list[Message], excluded: list[str]) -> tuple[str, Tensor | None]:
        """The rendered prompt with the pictures' placeholders spelt out, as the processor does it, and the tiles."""
        chat = [message.as_chat() for message in messages]
        prompt = self._processor.apply_chat_template(chat, tokenize=False, excluded_category_keys=excluded)
        images = [image for message in messages for image in message.images]
        if not images:
            return prompt, None
        seen = self._processor.image_processor(images, return_tensors="pt")
        first, *rest = prompt.split("<|image|>")
        spelt = [self._processor._prompt_split_image(shape.tolist(), TILE_TOKENS) for shape in seen["aspect_ratios"]]
        prompt = first + "".join(image + text for image, text in zip(spelt, rest, strict=True))
        return prompt, seen["pixel_values"].float()

    def _hint_messages(
        self, messages: list[Message], prompt: str, cursor: int, token_at: Any, tags: Tensor, bags: Tensor
    ) -> None:
        """Tags the last token of each picture and phrase, and the stop of each message with all its keys."""
        lowered = prompt.lower()
        for message in messages:
            for key in message.seen:
                cursor = prompt.index("<|image_end|>", cursor) + 1
                tags[token_at(cursor)] = 1 + CATEGORY_KEYS.index(key) if key else 0
            for phrase, key in message.found:
                cursor = lowered.index(phrase.lower(), cursor) + len(phrase)
                tags[token_at(cursor - 1)] = 1 + CATEGORY_KEYS.index(key)
            cursor = prompt.index(STOP, cursor) + len(STOP)
            bags[token_at(cursor - 1)] = torch.tensor([float(key in message.keys) for key in CATEGORY_KEYS])

    def _collate(self, groups: list[list[Row]]) -> Batch:
        pad = self._tokenizer.pad_token_id
        prefixes = [members[0].ids[: members[0].prefix] for members in groups]
        lengths = torch.tensor([len(prefix) for prefix in prefixes])
        width = int(lengths.max())
        rows = [row for members in groups for row in members]
        ids = torch.full((len(rows), max(len(row.ids) - row.prefix for row in rows)), pad)
        labels, tags = torch.full_like(ids, IGNORED), torch.full_like(ids, IGNORED)
        bags = torch.full((*ids.shape, len(CATEGORY_KEYS)), -1.0)
        for i, row in enumerate(rows):
            n = len(row.ids) - row.prefix
            ids[i, :n] = torch.tensor(row.ids[row.prefix :])
            tags[i, :n], bags[i, :n] = row.tags[row.prefix :], row.bags[row.prefix :]
            labels[i, row.begin - row.prefix : n] = ids[i, row.begin - row.prefix : n]
        tiles = [row.tiles for row in rows if row.tiles is not None]
        padded = torch.tensor([prefix + [pad] * (width - len(prefix)) for prefix in prefixes])
        return Batch(padded, lengths, ids, labels, tags, bags, torch.cat(tiles) if tiles else None)


def _hint_answer(tokenizer: Any, ids: list[int], begin: int, judged: Message, bags: Tensor) -> None:
    """At each token of the answer, from the blank line on: which keys are still to be named (in ascending order)."""
    left = torch.tensor([float(key in judged.keys) for key in CATEGORY_KEYS])
    number_at = {tokenizer.convert_tokens_to_ids(str(n)): n - 1 for n in range(1, len(CATEGORY_KEYS) + 1)}
    for at in range(begin - 1, len(ids) - 1):  # the first is the assistant's header, which speaks next
        if ids[at] in number_at and at > begin:
            left = left.clone()
            left[number_at[ids[at]]] = 0
        bags[at] = left
