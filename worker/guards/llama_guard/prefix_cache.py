"""Prefix cache: the part that all prompts of a policy begin with is run through the model once and kept.

A prompt's first 150 tokens or so (task, categories) depend only on what is excluded, on whose turn is judged, and on
whether there is an image. Their keys and values are shared by all rows; only the rest of each prompt is computed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from worker.guards.llama_guard.prompts import Prompt, Prompts, PromptTurn
from worker.observability import metrics

# What messages may begin with: one or two alike would take the tokeniser's merge of both into the prefix.
_OPENINGS: Final = ("a", "7", "é", "!", " x", "\n")

_MOST_NEW_IN_A_BATCH: Final = 8
_USES_COUNTED: Final = 4096  # prompts after which the counts of uses are halved: old ones fade

KeysAndValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the beginning of a prompt depends on."""

    excluded: tuple[str, ...]
    judged: str
    has_image: bool

    @classmethod
    def of(cls, prompt: Prompt) -> "Shape":
        """The shape of a prompt."""
        return cls(prompt.excluded, prompt.judged, prompt.pixels is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """A common beginning of p tokens."""

    ids: Tensor  # [p], int32, on the CPU
    layers: Sequence[KeysAndValues]  # a layer: keys and values [1, heads, p, head_dim], on the device

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """Bytes on the device."""
        return sum(each.nbytes for layer in self.layers for each in layer)


class PrefixCache:
    """Prefixes by shape, within a bound of bytes. `of` and `of_batch` belong to the device's thread.

    Where there is no room for another one, it takes the place of a prefix that is used less than half as often. To
    compute a prefix costs as much as to compute a prompt whole: among many policies, each would drive out the next
    before it is used again.
    """

    def __init__(self, model: Any, probes: Callable[[Shape], Sequence[Prompt]], most_bytes: int) -> None:
        """`probes` renders prompts of a shape that have nothing in common but their beginning."""
        self._model, self._probes, self._most_bytes = model, probes, most_bytes
        self._prefixes: dict[Shape, Prefix] = {}
        self._uses: Counter[Shape] = Counter()  # wanted lately, held or not
        self._counted = 0
        self._largest = 0  # bytes of the largest prefix so far; they differ little
        self._bytes = 0
        self._may_compute = 0  # so many prefixes, for now
        text = model.config.get_text_config()
        self._token_bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * model.dtype.itemsize

    @property
    def bytes(self) -> int:
        """On the device, of all prefixes; never more than the bound."""
        return self._bytes

    def of_batch(self, prompts: Iterable[Prompt]) -> list[Prefix | None]:
        """The prefixes of a batch's prompts, of which it computes a few anew.

        Each one new is a forward pass of its own: a batch of many policies that were never seen would take many times
        as long as its tokens tell. The others' turn comes with a later batch.
        """
        self._may_compute = _MOST_NEW_IN_A_BATCH
        return [self._of(prompt) for prompt in prompts]

    def of(self, prompt: Prompt) -> Prefix | None:
        """The prefix of a prompt; None where there is no room for it or the prompt does not begin with it, and so is
        computed whole."""
        self._may_compute = 1
        return self._of(prompt)

    def _of(self, prompt: Prompt) -> Prefix | None:
        if not self._most_bytes:
            return None
        shape = Shape.of(prompt)
        self._count(shape)
        prefix = self._prefixes.get(shape)
        if prefix is None:
            prefix = self._add(shape)
        if prefix is None:
            return None
        if not _begins_with(prompt, prefix):
            metrics.PROMPTS_WITHOUT_PREFIX.inc()
            return None
        return prefix

    def known_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt that need not be computed, as far as is known. From any thread."""
        prefix = self._prefixes.get(Shape.of(prompt))
        return len(prefix) if prefix is not None and _begins_with(prompt, prefix) else 0

    def _count(self, shape: Shape) -> None:
        self._uses[shape] += 1
        self._counted += 1
        if self._counted >= _USES_COUNTED:
            self._counted = 0
            self._uses = Counter({each: uses // 2 for each, uses in self._uses.items() if uses > 1})

    def _add(self, shape: Shape) -> Prefix | None:
        if not self._may_compute or not self._make_room(shape, self._largest):  # known before anything is rendered
            return None
        self._may_compute -= 1
        ids = self._common_ids(shape)
        size = len(ids) * self._token_bytes
        self._largest = max(self._largest, size)
        if not self._make_room(shape, size):
            return None
        prefix = self._prefixes[shape] = self._compute(ids)
        self._hold(self._bytes + prefix.size)
        return prefix

    def _make_room(self, shape: Shape, size: int) -> bool:
        """Drops what is used least, as long as it is less than half as often as `shape`."""
        while self._bytes + size > self._most_bytes:
            least = min(self._prefixes, key=self._uses.__getitem__, default=None)
            if least is None or 2 * self._uses[least] >= self._uses[shape]:
                return False
            self._hold(self._bytes - self._prefixes.pop(least).size)
        return True

    def _hold(self, size: int) -> None:
        self._bytes = size
        metrics.PREFIX_CACHE_BYTES.set(size)

    def _common_ids(self, shape: Shape) -> list[int]:
        ids = _common_beginning([probe.ids.tolist() for probe in self._probes(shape)])
        image = getattr(self._model.config, "image_token_id", None)
        if image in ids:  # an image belongs to its row
            ids = ids[: ids.index(image)]
        return ids

    def _compute(self, ids: list[int]) -> Prefix:
        cache = DynamicCache(config=self._model.config.get_text_config())
        if ids:
            inputs = torch.tensor([ids], device=self._model.device)
            self._model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        layers = [(layer.keys, layer.values) for layer in cache.layers] if ids else []
        return Prefix(torch.tensor(ids, dtype=torch.int32), layers)


def _common_beginning(rows: Sequence[Sequence[int]]) -> list[int]:
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))]


def _begins_with(prompt: Prompt, prefix: Prefix) -> bool:
    return len(prompt) > len(prefix) and torch.equal(prompt.ids[: len(prefix)], prefix.ids)


def stacked(prefixes: Sequence[Prefix | None], config: Any) -> tuple[DynamicCache, Tensor]:
    """The prefixes of the rows of a batch as one cache, padded on the left with zeros to the longest.

    Returns the cache and the rows' prefix lengths [rows]. `config` is the text model's.
    """
    cache = DynamicCache(config=config)
    lengths = torch.tensor([0 if prefix is None else len(prefix) for prefix in prefixes])
    width = int(lengths.max())
    rows_of: dict[int, list[int]] = {}
    distinct = {id(prefix): prefix for prefix in prefixes if prefix}
    for row, prefix in enumerate(prefixes):
        if prefix:
            rows_of.setdefault(id(prefix), []).append(row)
    for layer in range(config.num_hidden_layers if width else 0):
        cache.update(*(_column(distinct, rows_of, len(prefixes), width, layer, part) for part in (0, 1)), layer)
    return cache, lengths


def _column(
    distinct: dict[int, Prefix], rows_of: dict[int, list[int]], rows: int, width: int, layer: int, part: int
) -> Tensor:
    """Keys (part 0) or values (part 1) of a layer [rows, heads, width, head_dim]."""
    one = next(iter(distinct.values())).layers[layer][part]
    if len(distinct) == 1 and len(next(iter(rows_of.values()))) == rows:
        return one.expand(rows, -1, -1, -1)  # no copy here: the cache makes one when it appends
    column = one.new_zeros(rows, one.shape[1], width, one.shape[3])
    for number, prefix in distinct.items():
        column[rows_of[number], :, width - len(prefix) :] = prefix.layers[layer][part]
    return column


def probes_of(prompts: Prompts) -> Callable[[Shape], Sequence[Prompt]]:
    """Renders probes with a checkpoint's own template."""
    picture = Image.new("RGB", (8, 8))

    def probes(shape: Shape) -> list[Prompt]:
        images = (picture,) if shape.has_image else ()
        end = [PromptTurn("assistant", "x")] if shape.judged == "assistant" else []
        # An image may come later ...
        late = [PromptTurn("assistant", "x"), PromptTurn("user", "x", images)] if images else []
        turns = [[PromptTurn("user", opening), *late, *end] for opening in _OPENINGS]
        if images:  # ... or first
            turns.append([PromptTurn("user", "x", images), *end])
        return [prompts.render(each, shape.excluded) for each in turns]

    return probes
