"""Workloads are what they say: lengths, shares, and the same again from the same seed."""

from typing import Any

import pytest
from transformers import AutoProcessor

from worker.bench.rivals import padded_batches
from worker.bench.workload import Workload, jobs_of
from worker.guards.llama_guard.prompts import Prompts
from worker.standins import weights_dir

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(AutoProcessor.from_pretrained(weights_dir("llama-guard-4")))


def text_tokens(prompts: Prompts, job: Any) -> int:
    return len(prompts.token_spans(job.chat[0]["content"][-1]["text"]))


@pytest.mark.parametrize(("lengths", "least", "most"), [("chat", 15, 45), ("mixed", 5, 2000), ("long", 400, 1500)])
def test_messages_have_the_lengths_of_their_distribution(prompts: Prompts, lengths: str, least: int, most: int) -> None:
    found = [text_tokens(prompts, job) for job in jobs_of(Workload(lengths, messages=24), prompts)]
    assert least - 2 <= min(found)  # a text cut at a token may merge otherwise at its new end
    assert max(found) <= most + 2
    assert len(set(found)) > 8


def test_policies_take_turns_and_images_have_their_share(prompts: Prompts) -> None:
    jobs = jobs_of(Workload(messages=20, policies=5, images=0.25), prompts)
    assert len({job.policy.excluded_categories for job in jobs}) == 5
    assert sum(len(job.chat[0]["content"]) == 2 for job in jobs) == 5
    pictured = [len(job.event.messages[0].content) == 2 for job in jobs]
    assert pictured == [len(job.chat[0]["content"]) == 2 for job in jobs]


def test_the_same_seed_gives_the_same_jobs(prompts: Prompts) -> None:
    work = Workload("mixed", messages=6, images=0.5)
    assert [job.event for job in jobs_of(work, prompts)] == [job.event for job in jobs_of(work, prompts)]


def test_padded_batches_keep_policies_apart_and_to_their_tokens(prompts: Prompts) -> None:
    jobs = jobs_of(Workload("mixed", messages=30, policies=3), prompts)
    batches = list(padded_batches(jobs, 1000))
    assert sorted(job.event.event_id for batch in batches for job in batch) == sorted(
        job.event.event_id for job in jobs
    )
    for batch in batches:
        assert len({job.policy.name for job in batch}) == 1
        assert len(batch) == 1 or max(job.prompt_tokens for job in batch) * len(batch) <= 1000
