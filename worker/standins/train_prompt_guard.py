"""Trains the Prompt Guard stand-in: a tiny DeBERTa-v2 that tells prompt attacks from look-alikes."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from worker.standins.attacks import attack_sample
from worker.standins.build import prompt_guard_model, prompt_guard_tokenizer


@dataclass(frozen=True)
class PromptGuardSettings:
    """Steps, rows of a step, learning rate."""

    steps: int = 700
    rows: int = 48
    warm_up: int = 50
    decay: float = 0.3
    rate: float = 2e-3
    report_every: int = 100


def train_prompt_guard(out: Path, seed: int, settings: PromptGuardSettings) -> None:
    """Trains in fp32 on the CPU and saves model and tokenizer in bf16. Repeatable with one thread."""
    torch.manual_seed(seed)
    rng, began = random.Random(seed), time.monotonic()
    tokenizer = prompt_guard_tokenizer(rng)
    model = prompt_guard_model(tokenizer)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(settings.steps):
        left = (1 - step / settings.steps) / settings.decay
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / settings.warm_up, left)
        buried = step % 8 == 7  # now and then few long texts, so that a whole window is read
        pieces, rows = ((10, 40), settings.rows // 6) if buried else ((0, 3), settings.rows)
        drawn = [attack_sample(rng, pieces) for _ in range(rows)]
        batch = tokenizer(
            [text for text, _ in drawn], padding=True, truncation=True, return_tensors="pt", return_token_type_ids=False
        )
        labels = torch.tensor([int(is_attack) for _, is_attack in drawn])
        loss = model(**batch, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % settings.report_every == 0:
            print(f"{step + 1}/{settings.steps} {time.monotonic() - began:.0f} s loss {loss.item():.4f}", flush=True)
    model.eval().to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
