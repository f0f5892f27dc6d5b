"""Packing: the rows of a batch as one sequence without padding, for a Llama 4 of transformers.

The linear layers, nearly all of the work, see each token once and nothing else. Only attention knows of rows:

    tokens     [row 0 ........][row 1 ...][row 2 ......]     one sequence, positions given
    attention  the rows side by side, each filled up to the longest on the right, behind its prefix's keys

A row's queries see its prefix and its own tokens up to themselves; what fills it up lies to the right of them, so that
rows of one prefix need no mask. Prefixes are copied into the rows for as long as a layer takes.

Attention comes in by transformers' own door for it, `AttentionInterface`, under the name ATTENTION: the model's code
is theirs. A call without a `packed` argument is ordinary `sdpa` attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.attention.bias import CausalBias, causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from worker.guards.llama_guard.prefix_cache import KeysAndValues, Prefix

ATTENTION: Final = "packed"


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys and values that the rows follow on."""

    prefixes: Sequence[Prefix]  # different ones
    taken: Tensor | None  # [rows * longest]: which of all their tokens stands where; None: all rows have the only one

    def layer(self, layer: int, rows: int) -> tuple[Tensor, ...]:
        """Keys and values [rows, heads, longest prefix, head_dim]."""
        if self.taken is None:
            return tuple(each.expand(rows, -1, -1, -1) for each in self.prefixes[0].layers[layer])
        together = (
            torch.cat(parts, 2)[0] for parts in zip(*(each.layers[layer] for each in self.prefixes), strict=True)
        )
        return tuple(_by_row(each.transpose(0, 1)[self.taken], rows) for each in together)


@dataclass(slots=True)
class Packed:
    """Rows of tokens, packed in the order in which they are given."""

    ids: Tensor  # [1, tokens]
    positions: Tensor  # [1, tokens]: places in the whole prompts, prefixes included
    ends: Tensor  # [rows]: the sequence's index behind each row
    filled: Tensor  # [rows * longest]: which token of the sequence stands where; fillers repeat some token
    real: Tensor  # [tokens]: where in `filled` each token stands
    known: _Known | None  # None: no row has a prefix
    bias: CausalBias | Tensor  # what a query sees; a mask [rows, 1, longest, longest prefix + longest] where it differs
    kept: dict[int, KeysAndValues] = field(default_factory=dict)  # a layer: [tokens, heads, head_dim]

    @classmethod
    def of(cls, rows: Sequence[Tensor], prefixes: Sequence[Prefix | None], device: Any) -> "Packed":
        """Packs rows [n each], which follow on their prefixes."""
        lengths = torch.tensor([len(row) for row in rows])
        begins = [0 if prefix is None else len(prefix) for prefix in prefixes]
        positions = [torch.arange(begin, begin + len(row)) for row, begin in zip(rows, begins, strict=True)]
        ends = lengths.cumsum(0)
        columns = torch.arange(int(lengths.max()))
        filled = ((ends - lengths)[:, None] + columns).clamp(max=int(ends[-1]) - 1)
        known, bias = _known(prefixes, torch.tensor(begins), len(columns), device)
        return cls(
            ids=torch.cat(list(rows)).long()[None].to(device),
            positions=torch.cat(positions)[None].to(device),
            ends=ends.to(device),
            filled=filled.flatten().to(device),
            real=(columns < lengths[:, None]).flatten().nonzero().flatten().to(device),
            known=known,
            bias=bias,
        )

    def last_columns(self, count: int) -> Tensor:
        """The sequence's indices of the last `count` tokens of each row: [rows * count]."""
        return (self.ends[:, None] + torch.arange(-count, 0, device=self.ends.device)).flatten()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """[tokens, heads, head_dim] each -> [tokens, heads, head_dim]. Keeps keys and values for `tails`."""
        self.kept[layer] = key, value
        rows = len(self.ends)
        query, key, value = (_by_row(each[self.filled], rows) for each in (query, key, value))
        if self.known is not None:
            known = self.known.layer(layer, rows)
            key, value = (torch.cat(both, 2) for both in zip(known, (key, value), strict=True))
        grouped = isinstance(self.bias, CausalBias)
        if not grouped:  # with a mask, CUDA has no fused kernel for grouped heads
            key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
        answered = scaled_dot_product_attention(
            query, key, value, attn_mask=self.bias, scale=scaling, enable_gqa=grouped
        )
        return answered.transpose(1, 2).flatten(0, 1)[self.real]

    def tails(self, rows: Tensor, lengths: Tensor) -> tuple[Sequence[tuple[Tensor, ...]], Tensor]:
        """The kept keys and values of some rows of `lengths` tokens, filled up on the left: a layer [rows, heads,
        longest, head_dim]; and a mask [rows, longest] of what is real."""
        places = torch.arange(-int(lengths.max()), 0, device=rows.device)
        taken = (self.ends[rows, None] + places).clamp(min=0).flatten()
        layers = [tuple(_by_row(each[taken], len(rows)) for each in self.kept[layer]) for layer in sorted(self.kept)]
        return layers, places >= -lengths[:, None]


def _known(
    prefixes: Sequence[Prefix | None], begins: Tensor, width: int, device: Any
) -> tuple[_Known | None, CausalBias | Tensor]:
    """The prefixes of rows and what the rows' queries see; `begins` [rows] are their lengths, `width` the longest
    row's."""
    different = list({id(prefix): prefix for prefix in prefixes if prefix}.values())
    if len(different) <= 1 and len(set(begins.tolist())) == 1:
        only = _Known(different, None) if different else None
        return only, causal_lower_right(width, width + int(begins[0]))
    offsets, offset = {0: 0}, 0
    for prefix in different:
        offsets[id(prefix)] = offset
        offset += len(prefix)
    columns = torch.arange(int(begins.max()))
    first = torch.tensor([offsets[id(prefix) if prefix else 0] for prefix in prefixes])
    taken = (first[:, None] + columns).clamp(max=offset - 1).flatten()
    in_prefix = (columns < begins[:, None])[:, None].expand(-1, width, -1)
    in_row = torch.ones(width, width, dtype=torch.bool).tril().expand(len(prefixes), -1, -1)
    return _Known(different, taken.to(device)), torch.cat([in_prefix, in_row], 2)[:, None].to(device)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packed: Packed | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers calls it: query, key, value [1, heads, tokens, head_dim] -> [1, tokens, heads,
    head_dim]."""
    if packed is None:
        answer: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return answer
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    return packed.attend(module.layer_idx, query, key, value, scaling)[None], None


def _by_row(tokens: Tensor, rows: int) -> Tensor:
    """[rows * width, heads, head_dim] -> [rows, heads, width, head_dim]."""
    return tokens.view(rows, -1, *tokens.shape[1:]).transpose(1, 2)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
