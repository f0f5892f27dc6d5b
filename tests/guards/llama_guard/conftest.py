"""Tiny guards for the tests: a random one that mostly keeps to the answer grammar, and the shipped stand-in."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.guards.guard import ModelId
from worker.guards.llama_guard.answer import AnswerTokens
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.standins import weights_dir
from worker.standins.build import guard_model, guard_processor, guard_tokenizer, guard_tokenizer_lines
from worker.standins.corpus import text_message

MODEL = ModelId("tiny", "local-0", stand_in=True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return guard_tokenizer(guard_tokenizer_lines(random.Random(0))[::7])


@pytest.fixture(scope="session")
def processor(tokenizer: Any) -> Any:
    return guard_processor(tokenizer)


@pytest.fixture(scope="session")
def random_model(tokenizer: Any, processor: Any) -> Any:
    """Random weights whose head is bent to the answer grammar: what is said within it is chance."""
    torch.manual_seed(6)
    model = guard_model(tokenizer, hidden=64, layers=3, vision=32).eval()
    answer = AnswerTokens.of(tokenizer)
    follows = {
        tokenizer.convert_tokens_to_ids("<|header_end|>"): [answer.blank_line],
        answer.blank_line: [answer.safe, answer.unsafe],
        answer.unsafe: [answer.line_break],
        answer.line_break: [answer.first],
        answer.first: answer.numbers,
        answer.another: answer.numbers,
        **{number: [answer.another, *answer.ends] for number in answer.numbers},
    }
    model.get_input_embeddings().weight.data *= 2  # the last token must be felt through the layers
    with torch.no_grad():
        _bend(model.language_model.lm_head.weight, follows, *_states(model, Prompts(processor), answer))
    return model


def _states(model: Any, prompts: Prompts, answer: AnswerTokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [n] of many answers to many prompts, and the states [n, hidden] of the model at them."""
    rng = random.Random(2)
    tokens, states = [], []
    for _ in range(40):
        said = [*answer.appended, rng.choice(answer.numbers), answer.another, rng.choice(answer.numbers)]
        ids = prompts.render([PromptTurn("user", text_message(rng, "user", []).text)]).ids
        row = torch.cat([ids, torch.tensor(said)])
        tokens.append(row[-len(said) - 1 :])
        states.append(model.language_model.model(input_ids=row[None]).last_hidden_state[0, -len(said) - 1 :])
    return torch.cat(tokens), torch.cat(states)


def _bend(head: torch.Tensor, follows: dict[int, Sequence[int]], tokens: torch.Tensor, states: torch.Tensor) -> None:
    """Gives all that may follow a token the same logit on average, the others a lower one: the prompt decides."""
    means = torch.stack([states[tokens == token].mean(0) for token in follows])
    for word in {word for nexts in follows.values() for word in nexts}:
        wanted = torch.tensor([7.0 if word in nexts else 0.0 for nexts in follows.values()])
        head[word] += torch.linalg.lstsq(means, wanted - means @ head[word], driver="gelsd").solution


@pytest.fixture(scope="session")
def random_guard(random_model: Any, processor: Any) -> LlamaGuard:
    return LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions())


@pytest.fixture(scope="session")
def stand_in() -> LlamaGuard:
    return LlamaGuard.load(_weights(), MODEL, dtype="float32")


def _weights() -> Path:
    return weights_dir("llama-guard-4")
