"""What the release's own code says: its snippet, one conversation at a time, without anything of this engine."""

import re
from dataclasses import dataclass
from typing import Any

import torch

from tests.guards.llama_guard.sampling import Sample
from worker.policy.taxonomy import CATEGORY_KEYS

UNSAFE = re.compile(r"\n\nunsafe\n(S(?:[1-9]|1[0-4])(?:,S(?:[1-9]|1[0-4]))*)(<\|eot\|>)?")

Answer = str | tuple[str, ...]
"""`safe`, `unparseable`, or the categories in their order."""


@dataclass(frozen=True)
class Released:
    """A model with its processor, run as the release runs it."""

    model: Any
    processor: Any

    @torch.inference_mode()
    def answer(self, sample: Sample) -> Answer:
        """What `generate(do_sample=False)` says, read strictly."""
        inputs = self._inputs(sample)
        out = self.model.generate(**inputs, max_new_tokens=31, do_sample=False)
        return _read(self.processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :]))

    @torch.inference_mode()
    def score(self, sample: Sample) -> float:
        """P(unsafe): softmax over `safe` and `unsafe` after the whole prompt and its blank line; no cache."""
        inputs = self._inputs(sample)
        of = self.processor.tokenizer.convert_tokens_to_ids
        opened = torch.tensor([self.processor.tokenizer.encode("\n\n", add_special_tokens=False)])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], opened], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        logits = self.model(**inputs, use_cache=False).logits[0, -1, [of("safe"), of("unsafe")]]
        return float(logits.softmax(-1)[1])

    def _inputs(self, sample: Sample) -> Any:
        inputs = self.processor.apply_chat_template(
            [sample.chat],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            excluded_category_keys=sample.excluded,
        )
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs


def _read(said: str) -> Answer:
    if said.startswith("\n\nsafe"):
        return "safe"
    match = UNSAFE.fullmatch(said)
    # Without an end it is a list of 14 and the beginning of a 15th, which a random model may well repeat for ever.
    whole = match and (match[2] or match[1].count(",") == len(CATEGORY_KEYS) - 1)
    if match is None and len(re.findall(r"S\d+", said)) >= len(CATEGORY_KEYS):
        match = whole = UNSAFE.match(said)
    return tuple(dict.fromkeys(match[1].split(",")[:14])) if match and whole else "unparseable"
