"""The benchmark's prompts have as many tokens as the published vocabulary gives them."""

import pytest
from transformers import AutoProcessor

from worker.bench.token_counts import CLOSING, PREFIX, parts, with_published_counts
from worker.guards.llama_guard.answer import AnswerTokens
from worker.standins import weights_dir

pytestmark = pytest.mark.models


def test_a_prompt_is_cut_as_the_published_one_and_an_answer_as_before() -> None:
    tokenizer = AutoProcessor.from_pretrained(weights_dir("llama-guard-4")).tokenizer
    changed = with_published_counts(tokenizer)
    before, closing = (len(part) for part in parts(changed))
    assert PREFIX <= before <= PREFIX + 2
    assert CLOSING - 2 <= closing <= CLOSING
    assert AnswerTokens.of(changed) == AnswerTokens.of(tokenizer)
    assert len(parts(tokenizer)[0]) < PREFIX, "the original is left as it was"
