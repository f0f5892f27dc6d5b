"""Trains the Llama Guard stand-in in two stages: tag the phrases and pictures, then answer."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AutoProcessor, DynamicCache, Llama4ForConditionalGeneration

from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins.build import guard_model, guard_processor, guard_tokenizer, guard_tokenizer_lines
from worker.standins.samples import IGNORED, Batch, Mix, Samples


@dataclass(frozen=True)
class Schedule:
    """The steps of a run, 12 to 30 rows each, and its learning rates."""

    tag_steps: int
    answer_steps: int
    adam_rate: float
    muon_rate: float
    warm_up: int
    decay: float
    """The share of all steps, at the end, in which the rates fall to 0. Most of the gain comes here."""
    report_every: int = 50

    @property
    def steps(self) -> int:
        return self.tag_steps + self.answer_steps

    def pace(self, step: int) -> float:
        """The share of the full rates in a step."""
        return min(1.0, (step + 1) / self.warm_up, (self.steps - step) / self.steps / self.decay)


LEARN: Final = Schedule(tag_steps=60, answer_steps=1000, adam_rate=3e-3, muon_rate=0.02, warm_up=50, decay=0.45)
POLISH: Final = Schedule(tag_steps=0, answer_steps=220, adam_rate=1e-3, muon_rate=0.005, warm_up=10, decay=1.0)
# More of what was weak after the run before.
POLISH_MIXES: Final = (
    Mix(assistants=0.6, pictured=0.25, windows=0.25),
    Mix(assistants=0.75, pictured=0.25, windows=0.2),
)


class Tutor(nn.Module):
    """Linear readers of the layers' token states, thrown away after training: hints on the way to the answer.

    Layers 1 and 2: which key the phrase or picture ending here has. Layers 2 and 3: the keys of the message that stops
    here. Layer 3: the keys that the answer has still to name.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.tag_readers = nn.ModuleList(nn.Linear(hidden, 1 + len(CATEGORY_KEYS)) for _ in range(2))
        self.bag_readers = nn.ModuleList(nn.Linear(hidden, len(CATEGORY_KEYS)) for _ in range(3))
        self.register_buffer("tag_weight", torch.tensor([0.3] + [1.0] * len(CATEGORY_KEYS)))

    def forward(self, states: tuple[Tensor, ...], batch: Batch) -> list[Tensor]:
        """The losses of the hints; `states[n]` [rows, L, hidden] is what layer n wrote."""
        tagged = batch.tags != IGNORED
        stops = tagged & (batch.bags[..., 0] >= 0)
        answers = ~tagged & (batch.bags[..., 0] >= 0)
        losses = [
            F.cross_entropy(reader(state[tagged]), batch.tags[tagged], self.get_buffer("tag_weight"))
            for reader, state in zip(self.tag_readers, states[1:3], strict=True)
        ]
        for reader, layer, places in zip(self.bag_readers, (2, 3, 3), (stops, stops, answers), strict=True):
            if bool(places.any()):  # dense rows have no answer
                read = reader(states[layer][places])
                losses.append(F.binary_cross_entropy_with_logits(read, batch.bags[places]))
        return losses


def train_guard(out: Path, seed: int, learn: Schedule = LEARN, polish: Schedule = POLISH) -> None:
    """Trains in fp32 on the CPU and saves model and processor in bf16. Repeatable with one thread.

    After the main run come short ones without hints, each from what the one before it saved.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    processor = guard_processor(guard_tokenizer(guard_tokenizer_lines(rng)))
    model = guard_model(processor.tokenizer)
    tutor = Tutor(model.config.text_config.hidden_size)
    _run(model, tutor, Samples(processor, rng), learn, _token_weight(processor.tokenizer))
    _save(model, processor, out)
    for number, mix in enumerate(POLISH_MIXES, 1):
        polish_guard(out, seed + number, mix, polish)


def polish_guard(out: Path, seed: int, mix: Mix, schedule: Schedule = POLISH) -> None:
    """Trains the guard in `out` a little further, on batches of another mix."""
    processor = AutoProcessor.from_pretrained(out)
    model = Llama4ForConditionalGeneration.from_pretrained(out, dtype=torch.float32)
    samples = Samples(processor, random.Random(seed), mix)
    _run(model, None, samples, schedule, _token_weight(processor.tokenizer))
    _save(model, processor, out)


def _save(model: Any, processor: Any, out: Path) -> None:
    model.eval().to(torch.bfloat16).save_pretrained(out)
    processor.save_pretrained(out)


def _run(model: Any, tutor: Tutor | None, samples: Samples, schedule: Schedule, weight: Tensor) -> None:
    """Trains the model in place; the first `tag_steps` on tags alone."""
    began = time.monotonic()
    model.train()
    hinted = [] if tutor is None else list(tutor.parameters())
    optimisers = _optimisers(model, hinted, schedule)
    parameters = [*model.parameters(), *hinted]
    log: list[float] = []
    for step in range(schedule.steps):
        if step == schedule.tag_steps:
            samples.restart()
        batch = samples.next(dense=step < schedule.tag_steps)
        logits, wanted, states = _read(model, batch)
        hints = [] if tutor is None else tutor(states, batch)
        said = F.cross_entropy(logits, wanted, weight) if len(wanted) else logits.sum()
        _update(optimisers, parameters, said + sum(hints), schedule.pace(step))
        log.append(said.item())
        if (step + 1) % schedule.report_every == 0:
            told = " ".join(f"{hint.item():.3f}" for hint in hints)
            recent = sum(log[-50:]) / len(log[-50:])
            seconds = time.monotonic() - began
            print(f"{step + 1}/{schedule.steps} {seconds:.0f} s answer {recent:.4f} hints {told}", flush=True)


def _read(model: Any, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The logits [n, vocabulary] and labels [n] of all answer tokens, and each layer's states of the tails."""
    core = model.language_model.model
    cache = DynamicCache(config=model.config.text_config)
    # Once a group; autograd goes through the cache.
    core(input_ids=batch.prefixes, past_key_values=cache, use_cache=True)
    rows_each = len(batch.ids) // len(batch.prefixes)
    cache.batch_repeat_interleave(rows_each)
    starts = batch.lengths.repeat_interleave(rows_each)[:, None]
    present = torch.arange(batch.prefixes.shape[1])[None] < starts
    mask = torch.cat([present, torch.ones_like(batch.ids, dtype=torch.bool)], 1).long()
    embedded = core.embed_tokens(batch.ids)
    if batch.tiles is not None:
        seen = model.multi_modal_projector(model.vision_model(batch.tiles).last_hidden_state.flatten(0, 1))
        embedded = embedded.masked_scatter((batch.ids == model.config.image_token_index)[..., None], seen)
    out = core(
        inputs_embeds=embedded,
        past_key_values=cache,
        use_cache=True,
        attention_mask=mask,
        position_ids=starts + torch.arange(batch.ids.shape[1]),
        output_hidden_states=True,
    )
    known = batch.labels[:, 1:] != IGNORED
    logits = model.language_model.lm_head(out.last_hidden_state[:, :-1][known])
    return logits, batch.labels[:, 1:][known], out.hidden_states


def _token_weight(tokenizer: Any) -> Tensor:
    """The loss weight of each answer token [vocabulary]: the list is harder than the verdict."""
    weight = torch.ones(len(tokenizer))
    for word in (",S", *(str(n) for n in range(1, len(CATEGORY_KEYS) + 1))):
        weight[tokenizer.convert_tokens_to_ids(word)] = 2.0
    return weight


def _optimisers(
    model: nn.Module, hinted: list[nn.Parameter], schedule: Schedule
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the layers, AdamW for embeddings, head, norms and the tutor; each with its full rate."""
    outside = ("embed_tokens", "lm_head", "positional")
    inner = {n: p for n, p in model.named_parameters() if p.ndim == 2 and not any(word in n for word in outside)}
    outer = [p for n, p in model.named_parameters() if n not in inner] + hinted
    adam = torch.optim.AdamW(outer, lr=schedule.adam_rate, betas=(0.9, 0.98), weight_decay=0.01)
    muon = torch.optim.Muon(inner.values(), lr=schedule.muon_rate, weight_decay=0.01)
    return [(adam, schedule.adam_rate), (muon, schedule.muon_rate)]


def _update(
    optimisers: list[tuple[torch.optim.Optimizer, float]], parameters: list[nn.Parameter], loss: Tensor, pace: float
) -> None:
    """One step at `pace` (0 to 1) of the full rates."""
    for optimiser, rate in optimisers:
        optimiser.zero_grad()
        for group in optimiser.param_groups:
            group["lr"] = rate * pace
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimiser, _ in optimisers:
        optimiser.step()
