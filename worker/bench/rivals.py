"""What the engine is compared with: the release's own snippet, and the same with padded batches."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from worker.bench.workload import Job


class Release:
    """Judges as the snippet of the release does."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def snippet(self, job: Job, new_tokens: int = 10) -> str:
        """One `generate` call for one message: the snippet's own lines. 10 new tokens as written; after 2 the verdict
        is known."""
        inputs = self._processor.apply_chat_template(
            job.chat,
            tokenize=True,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            excluded_category_keys=list(job.policy.excluded_categories),
        ).to(self._model.device)
        return self._generate(inputs, new_tokens)[0]

    def padded(self, jobs: Sequence[Job], new_tokens: int = 2) -> list[str]:
        """One `generate` call for messages of one policy, padded on the left to the longest."""
        inputs = self._processor.apply_chat_template(
            [job.chat for job in jobs],
            tokenize=True,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            processor_kwargs={"padding": True},
            excluded_category_keys=list(jobs[0].policy.excluded_categories),
        ).to(self._model.device)
        return self._generate(inputs, new_tokens)

    @torch.inference_mode()
    def _generate(self, inputs: Any, new_tokens: int) -> list[str]:
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        outputs = self._model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        answers: list[str] = self._processor.batch_decode(
            outputs[:, inputs["input_ids"].shape[-1] :], skip_special_tokens=True
        )
        return answers


def padded_batches(jobs: Sequence[Job], most_tokens: int) -> Iterator[Sequence[Job]]:
    """Jobs of one policy that are neighbours in length, in batches of at most so many padded tokens."""
    ordered = sorted(jobs, key=lambda job: (job.policy.name, job.prompt_tokens))
    for _, same_policy in groupby(ordered, key=lambda job: job.policy.name):
        batch: list[Job] = []
        for job in same_policy:  # each longer than the one before
            if batch and job.prompt_tokens * (len(batch) + 1) > most_tokens:
                yield batch
                batch = []
            batch.append(job)
        yield batch
