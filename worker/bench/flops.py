"""Floating-point operations: what a model needs, and what this machine's matrix multiplication reaches."""

import time
from typing import Any

import torch


class FlopCounter:
    """Counts the operations that a Llama 4's text model cannot do without."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        decoder = model.language_model.model
        linear = [each for each in decoder.layers.modules() if isinstance(each, torch.nn.Linear)]
        self._a_token = 2.0 * sum(each.in_features * each.out_features for each in linear)
        self._a_key = 4.0 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
        self._an_answer = 2.0 * config.hidden_size * config.vocab_size

    def prompt(self, tokens: int, known: int) -> float:
        """Of the last `tokens` tokens of a prompt behind `known` tokens whose keys and values are there already, and
        of one answer."""
        keys = known * tokens + tokens * (tokens + 1) / 2
        return float(self._a_token * tokens + self._a_key * keys + self._an_answer)


def matmul_flops_per_second(device: str, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """What large square matrix multiplications reach, one after the other for at least so many seconds: a rate that
    the machine can hold, not its best moment."""
    size = 2048 if device == "cpu" else 8192
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    torch.mm(one, other)
    wait_for(device)
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        torch.mm(one, other)
        wait_for(device)
        done += 1
    return 2.0 * size**3 * done / passed


def wait_for(device: str) -> None:
    """Until the device has done what it was asked."""
    if device != "cpu":
        torch.cuda.synchronize(device)
