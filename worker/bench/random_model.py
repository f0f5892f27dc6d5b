"""Random weights of any dimensions that keep to the guard's answer grammar: for timings and for tests of fidelity.

What such a model says within the grammar is chance, but its computation is that of a real checkpoint of the same
dimensions, and every way to run it must say the same.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from worker.guards.llama_guard.answer import AnswerTokens
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.standins.build import Dims, guard_model
from worker.standins.corpus import text_message

DIMS: Final[Mapping[str, Dims]] = {
    "1m": Dims(),
    "46m": Dims(hidden=512, layers=12, heads=8, kv_heads=2, head_dim=64, mlp=2048),
    "llama-guard-4": Dims(
        hidden=5120,
        layers=48,
        heads=40,
        kv_heads=8,
        head_dim=128,
        mlp=8192,
        vocabulary=202048,
        vision=1408,
        vision_layers=34,
        vision_heads=16,
        tile=336,
    ),
}

_SAMPLES: Final = 40  # prompts from whose states the head learns the grammar
_LIKELY: Final = 7.0  # logit of what the grammar allows; everything else is around 0


@torch.inference_mode()
def random_model_of(
    processor: Any,
    dims: Dims,
    *,
    seed: int = 0,
    unsafe_share: float = 0.5,
    another_share: float = 0.5,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """A Llama 4 whose answers are of the grammar, about `unsafe_share` of them unsafe. After about `another_share` of
    the categories comes another one."""
    torch.manual_seed(seed)
    with torch.device(device), _default_dtype(dtype):  # not `.to(dtype)`: the vision tower's RoPE is complex
        model = guard_model(processor.tokenizer, dims).eval()
    # The last token must be felt through the layers, whose output grows with their width.
    model.get_input_embeddings().weight.data *= dims.hidden / 32
    answer = AnswerTokens.of(processor.tokenizer)
    start = processor.tokenizer.convert_tokens_to_ids("<|header_end|>")
    follows = {
        start: [answer.blank_line],
        answer.blank_line: [answer.safe, answer.unsafe],
        answer.unsafe: [answer.line_break],
        answer.line_break: [answer.first],
        answer.first: answer.numbers,
        answer.another: answer.numbers,
        **{number: [answer.another, *answer.ends] for number in answer.numbers},
    }
    tokens, states = _states(model, Prompts(processor), answer)
    head = model.language_model.lm_head.weight
    _bend(head, follows, tokens, states)
    _lean(head, states[tokens == answer.blank_line], answer.unsafe, answer.safe, unsafe_share)
    at_numbers = states[torch.isin(tokens, torch.tensor(answer.numbers, device=tokens.device))]
    _lean(head, at_numbers, answer.another, min(answer.ends), another_share)
    return model


def _lean(head: Tensor, states: Tensor, word: int, other: int, share: float) -> None:
    """Changes the head's row of `word` so that it is above `other` in about `share` of the states [n, hidden]."""
    logits = states @ head[[other, word]].float().T
    margin = torch.quantile(logits[:, 1] - logits[:, 0], 1 - share)
    average = states.mean(0)
    head[word] -= (margin * average / average.dot(average)).to(head.dtype)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _states(model: Any, prompts: Prompts, answer: AnswerTokens) -> tuple[Tensor, Tensor]:
    """Tokens [n] of many answers to many prompts, and the model's states [n, hidden] at them, in fp32."""
    rng = random.Random(2)
    tokens, states = [], []
    for _ in range(_SAMPLES):
        said = [*answer.appended, rng.choice(answer.numbers), answer.another, rng.choice(answer.numbers)]
        ids = prompts.render([PromptTurn("user", text_message(rng, "user", []).text)]).ids
        row = torch.cat([ids, torch.tensor(said)]).to(model.device)
        tokens.append(row[-len(said) - 1 :])
        found = model.language_model.model(input_ids=row[None]).last_hidden_state
        states.append(found[0, -len(said) - 1 :].float())
    return torch.cat(tokens), torch.cat(states)


def _bend(head: Tensor, follows: Mapping[int, Sequence[int]], tokens: Tensor, states: Tensor) -> None:
    """Gives all that may follow a token the same logit on average, the others a lower one: the prompt decides."""
    seen = [token for token in follows if (tokens == token).any()]
    means = torch.stack([states[tokens == token].mean(0) for token in seen])
    for word in {word for token in seen for word in follows[token]}:
        wanted = torch.tensor([_LIKELY if word in follows[token] else 0.0 for token in seen], device=means.device)
        change = wanted - means @ head[word].float()
        head[word] += (torch.linalg.pinv(means) @ change).to(head.dtype)
