"""One pass: label and categories of many prompts from a single forward pass of the model.

Attention is causal, so an unsafe answer up to its first number can be appended to every prompt at once:

    [prefix, from the cache] [rest of the prompt] "\\n\\n" "unsafe" "\\n" "S"

The logits of a row's last five columns say what `generate` would have said at each of them: at the prompt's end and at
"\\n\\n" they are the verdict, at "S" the first category. Only unsafe rows go on, for further categories.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache

from worker.guards.guard import Fault, Finding
from worker.guards.llama_guard.answer import MOST_CATEGORIES, AnswerTokens
from worker.guards.llama_guard.model import text_model
from worker.guards.llama_guard.packing import ATTENTION, Packed
from worker.guards.llama_guard.prefix_cache import Prefix, PrefixCache, stacked
from worker.guards.llama_guard.prompts import Prompt
from worker.policy.taxonomy import CATEGORY_KEYS

_EVEN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and the smallest P(unsafe) at which its categories are wanted."""

    prompt: Prompt
    wanted_from: float = 0.5


@dataclass(slots=True)
class _Row:
    """What is known of one question's answer."""

    score: float = 0.0
    strange: bool = False  # not of the grammar
    first: Sequence[float] = ()  # P(first category given unsafe), in the order of CATEGORY_KEYS
    named: list[int] = field(default_factory=list)  # indices into CATEGORY_KEYS, in the guard's order

    def name(self, index: int) -> None:
        if index not in self.named:
            self.named.append(index)

    def finding(self) -> Finding:
        if self.strange:
            return Finding(score=None, fault=Fault.UNPARSEABLE)
        scores: Mapping[str, float] = {CATEGORY_KEYS[index]: self.first[index] for index in self.named}
        return Finding(self.score, tuple(scores), scores)


class OnePass:
    """Answers questions with a Llama 4 model. Belongs to one thread."""

    def __init__(self, model: Any, tokens: AnswerTokens, prefixes: PrefixCache) -> None:
        """Sets the attention of `model`; what else it is used for stays as it is."""
        self._model, self._tokens, self._prefixes = model.eval(), tokens, prefixes
        text_model(model).set_attn_implementation(ATTENTION)
        self._appended = torch.tensor(tokens.appended, dtype=torch.int32)
        self._numbers = torch.tensor(tokens.numbers, device=model.device)

    def cost(self, prompt: Prompt) -> int:
        """The tokens that the model computes for a prompt, as far as is known."""
        return len(prompt) - self._prefixes.known_tokens(prompt) + len(self._appended)

    @torch.inference_mode()
    def judge(self, questions: Sequence[Question]) -> list[Finding]:
        """One finding a question, in their order, whatever mixture of policies, roles, texts and images they are.

        An answer that is not exactly of the grammar is a finding with the fault `unparseable`.
        """
        if not questions:
            return []
        prefixes = self._prefixes.of_batch(question.prompt for question in questions)
        rests = [
            torch.cat([question.prompt.ids[0 if prefix is None else len(prefix) :], self._appended])
            for question, prefix in zip(questions, prefixes, strict=True)
        ]
        packed = Packed.of(rests, prefixes, self._model.device)
        tiles = [question.prompt.pixels for question in questions if question.prompt.pixels is not None]
        # In the rows' order: image features are scattered over the image tokens of the sequence.
        pixels = {"pixel_values": torch.cat(tiles).to(self._model.device, self._model.dtype)} if tiles else {}
        logits = self._model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask={"full_attention": None, "chunked_attention": None},  # `packed` says it all
            use_cache=False,
            logits_to_keep=packed.last_columns(len(self._appended) + 1),
            packed=packed,
            **pixels,
        ).logits
        rows = self._read(
            logits.view(len(rests), -1, logits.shape[-1]), [question.wanted_from for question in questions]
        )
        live = [number for number, row in enumerate(rows) if row.named and not row.strange]
        if live:
            lengths = torch.tensor([len(rests[number]) for number in live])
            cache, mask = self._cache(packed, [prefixes[number] for number in live], torch.tensor(live), lengths)
            self._continue([rows[number] for number in live], cache, mask, mask.sum(1))
        return [row.finding() for row in rows]

    def _cache(
        self, packed: Packed, prefixes: Sequence[Prefix | None], rows: Tensor, lengths: Tensor
    ) -> tuple[DynamicCache, Tensor]:
        """The keys and values of some packed rows of `lengths` tokens behind their prefixes, as a cache; and its mask
        [rows, longest prefix + longest row]."""
        device = packed.ids.device
        cache, known = stacked(prefixes, self._model.config.get_text_config())
        layers, in_row = packed.tails(rows.to(device), lengths.to(device))
        for layer, (keys, values) in enumerate(layers):
            cache.update(keys, values, layer)
        width = int(known.max())
        in_prefix = torch.arange(width, device=device) >= width - known.to(device)[:, None]
        return cache, torch.cat([in_prefix, in_row], 1).long()

    def _read(self, logits: Tensor, wanted_from: Sequence[float]) -> list[_Row]:
        """Logits [rows, 5, vocabulary] -> a row each, with its first category where the score reaches `wanted_from`."""
        tokens = self._tokens
        said = logits.argmax(-1).tolist()
        scores = logits[:, 1, [tokens.safe, tokens.unsafe]].float().softmax(-1)[:, 1].tolist()
        firsts = logits[:, 4][:, self._numbers].float().softmax(-1).tolist()
        rows = []
        for (opening, verdict, *rest), score, first, wanted in zip(said, scores, firsts, wanted_from, strict=True):
            if verdict == tokens.safe and score == _EVEN:  # greedy decoding takes the first of equals
                score = math.nextafter(_EVEN, 0)  # noqa: PLW2901
            row = _Row(score, strange=opening != tokens.blank_line or verdict not in (tokens.safe, tokens.unsafe))
            row.strange |= not 0 <= score <= 1  # NaN
            if not row.strange and score >= wanted:
                row.first = first
                row.strange = rest[:2] != [tokens.line_break, tokens.first] or rest[2] not in tokens.numbers
                if not row.strange:
                    row.name(tokens.numbers.index(rest[2]))
            rows.append(row)
        return rows

    def _continue(self, rows: list[_Row], cache: DynamicCache, mask: Tensor, position: Tensor) -> None:
        """Further categories of unsafe rows, as `generate` names them: feeds [number, ",S"] until each answer ends.

        `cache` holds the rows' keys and values, `mask` [rows, columns so far], `position` [rows] is the next one.
        """
        tokens = self._tokens
        last = torch.tensor([tokens.numbers[row.named[-1]] for row in rows], device=mask.device)
        for _ in range(MOST_CATEGORIES - 1):  # an answer that only repeats itself must end too
            mask = torch.cat([mask, mask.new_ones(len(rows), 2)], 1)
            said = self._model(
                input_ids=torch.stack([last, torch.full_like(last, tokens.another)], 1),
                attention_mask=mask,
                position_ids=torch.stack([position, position + 1], 1),
                past_key_values=cache,
                use_cache=True,
            ).logits.argmax(-1)  # [rows, 2]: what follows the number, and the next number
            going = []
            for number, (row, (follows, following)) in enumerate(zip(rows, said.tolist(), strict=True)):
                if follows in tokens.ends:
                    continue
                if follows != tokens.another or following not in tokens.numbers:
                    row.strange = True
                    continue
                row.name(tokens.numbers.index(following))
                going.append(number)
            if not going:
                return
            if len(going) < len(rows):  # finished rows leave the batch
                cache.batch_select_indices(torch.tensor(going, device=mask.device))
                rows, mask, position, said = [rows[n] for n in going], mask[going], position[going], said[going]
            last, position = said[:, 1], position + 2
