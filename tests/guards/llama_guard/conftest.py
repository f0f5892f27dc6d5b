"""Tiny guards for the tests: a random one that mostly keeps to the answer grammar, and the shipped stand-in."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.bench.random_model import random_model_of
from worker.guards.guard import ModelId
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions
from worker.standins import weights_dir
from worker.standins.build import Dims, guard_processor, guard_tokenizer, guard_tokenizer_lines

MODEL = ModelId("tiny", "local-0", stand_in=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the tests of fidelity compared."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    for report in reports:
        for name, value in report.user_properties:
            if name == "fidelity" and report.when == "call":
                terminalreporter.write_line(f"fidelity, {value}")


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
def random_model(processor: Any) -> Any:
    """Random weights whose head is bent to the answer grammar: what is said within it is chance."""
    return random_model_of(processor, Dims(hidden=64, layers=3, mlp=128, vision=32), seed=6)


@pytest.fixture(scope="session")
def random_guard(random_model: Any, processor: Any) -> LlamaGuard:
    return LlamaGuard.of(random_model, processor, MODEL, LlamaGuardOptions())


@pytest.fixture(scope="session")
def stand_in() -> LlamaGuard:
    return LlamaGuard.load(_weights(), MODEL, dtype="float32")


def _weights() -> Path:
    return weights_dir("llama-guard-4")
