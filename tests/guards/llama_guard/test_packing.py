"""Packed attention is ordinary attention, row by row: no row sees another, and every token what is before it."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from worker.guards.llama_guard.packing import Packed, packed_attention
from worker.guards.llama_guard.prefix_cache import Prefix

HEADS, KV_HEADS, DIM = 4, 2, 8


def prefix_of(tokens: int) -> Prefix:
    layer = (torch.randn(1, KV_HEADS, tokens, DIM), torch.randn(1, KV_HEADS, tokens, DIM))
    return Prefix(torch.arange(tokens, dtype=torch.int32), [layer])


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[heads, n, d], [kv heads, known + n, d] -> [n, heads, d], without torch's own attention."""
    key, value = (each.repeat_interleave(HEADS // KV_HEADS, 0) for each in (key, value))
    known = key.shape[1] - query.shape[1]
    scores = query @ key.transpose(1, 2) * 0.5
    hidden = torch.ones(query.shape[1], key.shape[1]).triu(known + 1).bool()
    return (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(0, 1)


@pytest.mark.parametrize(
    "rows",
    [
        [(7, 5)],
        [(7, 1), (7, 6), (7, 3)],
        [(7, 2), (7, 9), (0, 4), (3, 1), (3, 5)],  # (length of the prefix, of the row)
        [(0, 1), (0, 30)],
    ],
)
def test_each_row_sees_its_prefix_and_itself_and_nothing_else(rows: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    prefixes = {length: prefix_of(length) for length in {length for length, _ in rows} if length}
    given = [prefixes.get(length) for length, _ in rows]
    packed = Packed.of([torch.zeros(n, dtype=torch.int32) for _, n in rows], given, "cpu")
    tokens = sum(n for _, n in rows)
    query = torch.randn(1, HEADS, tokens, DIM)
    key, value = torch.randn(2, 1, KV_HEADS, tokens, DIM)
    answered, _ = packed_attention(SimpleNamespace(layer_idx=0), query, key, value, None, 0.5, packed=packed)
    assert answered.shape == (1, tokens, HEADS, DIM)
    start = 0
    for prefix, (_, n) in zip(given, rows, strict=True):
        own = slice(start, start + n)
        before = prefix.layers[0] if prefix else (key[:, :, :0], value[:, :, :0])
        keys, values = (
            torch.cat([known[0], each[0, :, own]], 1) for known, each in zip(before, (key, value), strict=True)
        )
        torch.testing.assert_close(answered[0, own], plain_attention(query[0, :, own], keys, values))
        start += n


def test_positions_go_on_after_the_prefix_and_columns_are_found_again() -> None:
    prefix = prefix_of(10)
    rows = [torch.tensor([5, 6, 7]), torch.tensor([8, 9])]
    packed = Packed.of(rows, [prefix, None], "cpu")
    assert packed.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[10, 11, 12, 0, 1]]
    assert packed.ids[0, packed.last_columns(2)].tolist() == [6, 7, 8, 9]


def test_what_was_kept_of_some_rows_is_filled_up_on_the_left() -> None:
    packed = Packed.of([torch.zeros(n) for n in (3, 1, 2)], [None] * 3, "cpu")
    key = torch.arange(6.0).view(1, 1, 6, 1).expand(1, KV_HEADS, 6, DIM)
    packed_attention(SimpleNamespace(layer_idx=0), key.repeat(1, 2, 1, 1), key, -key, None, 1.0, packed=packed)
    layers, real = packed.tails(torch.tensor([0, 2]), torch.tensor([3, 2]))
    (keys, values), *others = layers
    assert not others
    assert keys.shape == (2, KV_HEADS, 3, DIM)
    assert real.tolist() == [[True, True, True], [False, True, True]]
    assert keys[0, 0, :, 0].tolist() == [0, 1, 2]
    assert keys[1, 0, 1:, 0].tolist() == [4, 5]
    assert torch.equal(keys, -values)
