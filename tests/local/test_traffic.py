"""The demo's sample events: everything that a worker is for, and the same every time."""

from collections import Counter
from pathlib import Path

import pytest

from worker.contract.chat_event import read_chat_event
from worker.contract.errors import Unjudgeable
from worker.contract.verdict import Label
from worker.local.traffic import POLICIES_TOML, sample_traffic
from worker.policy.store import PolicyStore
from worker.policy.taxonomy import CATEGORY_KEYS

SAMPLES = sample_traffic()


def test_there_is_everything_that_a_worker_is_for() -> None:
    kinds = Counter(sample.kind for sample in SAMPLES)
    assert len(SAMPLES) >= 400
    assert kinds.keys() == {
        "prompt",
        "response",
        "image",
        "two images",
        "prompt attack",
        "long text",
        "repeated",
        "several turns",
        "tool message",
        "malformed",
    }
    assert kinds["prompt"] >= 3 * len(CATEGORY_KEYS)


def test_it_is_the_same_for_the_same_seed() -> None:
    assert sample_traffic() == SAMPLES
    assert sample_traffic(1) != SAMPLES


def test_all_but_the_malformed_ones_are_chat_events_of_several_tenants() -> None:
    events = [read_chat_event(sample.value) for sample in SAMPLES if sample.kind != "malformed"]
    assert {event.tenant for event in events} >= {None, "acme", "museum", "forum"}
    assert {sample.label for sample in SAMPLES} == {Label.SAFE, Label.UNSAFE, None}


def test_some_malformed_ones_cannot_even_be_read() -> None:
    malformed = [sample.value for sample in SAMPLES if sample.kind == "malformed"]
    for value in (None, b"not JSON"):
        assert value in malformed
        with pytest.raises(Unjudgeable):
            read_chat_event(value)


def test_its_policies_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "policies.toml"
    file.write_text(POLICIES_TOML)
    assert set(PolicyStore.from_file(file).names) == {"default", "museum", "forum"}
