"""The bypass suite: every attack through the worker's own code with the stand-ins, and what its structure must be."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pytest
from transformers import AutoProcessor

from tests.moderation.judging import Dead, guards, settings
from tests.redteam.attacks import Attack, families
from tests.redteam.page import TARGET, page
from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.contract.verdict import Label, Reason, Verdict
from worker.guards.guard import Preparation
from worker.guards.llama_guard.delimiters import neutralise
from worker.guards.llama_guard.prompts import clean
from worker.guards.turns import turns_of
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.moderation.request import Request
from worker.policy.policy import DEFAULT_POLICY
from worker.standins import weights_dir

ATTACKS = [attack for family in families() for attack in family.attacks]
_PIECE = 60  # characters: far below the overlap of windows
_IN_FULL = 20_000  # characters of the longest text that is compared in full

models = pytest.mark.models


@cache
def verdicts() -> dict[str, Verdict | Dead]:
    """What became of every attack, all judged together."""

    async def one(moderator: Moderator, number: int, attack: Attack) -> Verdict | Dead:
        try:
            event = read_chat_event(attack.value)
            return await moderator.judge(Request.about(event, DEFAULT_POLICY, PlainRecord("t", 0, number), 0.0))
        except Unjudgeable as cause:
            return Dead(cause.error_type)

    async def all_of_them() -> list[Verdict | Dead]:
        moderator = Moderator(guards(), ModeratorOptions.of(settings()))
        try:
            return await asyncio.gather(*(one(moderator, number, attack) for number, attack in enumerate(ATTACKS)))
        finally:
            moderator.close()

    return dict(zip((attack.id for attack in ATTACKS), asyncio.run(all_of_them()), strict=True))


@dataclass(frozen=True)
class Prepared:
    """An attack's checks, read back."""

    event: ChatEvent
    llama_guard: Preparation
    prompt_guard: Preparation

    @cached_property
    def prompts(self) -> list[list[int]]:
        """The token ids of Llama Guard's prompts."""
        return [check.payload.prompt.ids.tolist() for check in self.llama_guard.checks]

    @cached_property
    def texts(self) -> list[str]:
        """The prompts as text."""
        return [tokenizer().decode(ids) for ids in self.prompts]


@cache
def _prepared(value: bytes) -> Prepared:
    event = read_chat_event(value)
    return Prepared(event, *(guard.prepare(event, DEFAULT_POLICY) for guard in guards()))


def prepared(attack: Attack) -> Prepared:
    return _prepared(attack.value)


@cache
def tokenizer() -> Any:
    return AutoProcessor.from_pretrained(weights_dir("llama-guard-4"), local_files_only=True).tokenizer


@cache
def _template_tokens() -> frozenset[int]:
    """The special tokens, but for those of images."""
    names = tokenizer().added_tokens_decoder.items()
    return frozenset(token for token, name in names if not re.search("image|patch|tile", str(name)))


def special_tokens(ids: Sequence[int]) -> list[int]:
    """The special tokens of a prompt in their order, but for those of its images."""
    return [token for token in ids if token in _template_tokens()]


HARMLESS = Attack("harmless", "worker", [{"role": "user", "content": "how do I bake a cake?"}], {})
judged = [attack for attack in ATTACKS if "dead_letter" not in attack.expected]
by_id = pytest.mark.parametrize("attack", judged, ids=lambda attack: attack.id)


def test_every_attack_has_a_name_of_its_own() -> None:
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS) > 50
    assert {attack.stopped_by for attack in ATTACKS} == {"worker", "model"}


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run `make schemas`"


@models
@by_id
def test_the_prompt_has_the_structure_that_the_template_writes(attack: Attack) -> None:
    """Special tokens where the template puts them, delimiters as often as it does, and the roles of the record."""
    (wanted,) = prepared(HARMLESS).prompts
    found = prepared(attack)
    turns = turns_of(found.event)
    assert found.prompts
    for ids, text in zip(found.prompts, found.texts, strict=True):
        assert special_tokens(ids) == special_tokens(wanted)
        assert text.count("<BEGIN CONVERSATION>") == text.count("<END CONVERSATION>") == 1
        assert len(re.findall("<(?:BEGIN|END) UNSAFE CONTENT CATEGORIES>", text)) == 2
        speakers = re.findall(r"(?:<BEGIN CONVERSATION>\n+|\n\n)(User|Agent): ", text)
        assert len(speakers) <= len(turns)
        assert speakers[-1] == {"user": "User", "assistant": "Agent"}[turns[-1].role]
        assert speakers == [("User", "Agent")[at % 2] for at in range(len(speakers))]


@models
@by_id
def test_nothing_of_the_judged_text_is_cut_in_silence(attack: Attack) -> None:
    """Every piece of it is in a prompt, or the verdict is incomplete, and not safe."""
    found, verdict = prepared(attack), verdicts()[attack.id]
    assert isinstance(verdict, Verdict)
    assert verdict.coverage.complete == attack.expected.get("complete", True)
    if not verdict.coverage.complete:
        assert verdict.label in (Label.REVIEW, Label.UNSAFE)
        assert Reason.INCOMPLETE_COVERAGE in verdict.reasons
    text, _ = neutralise(clean(turns_of(found.event)[-1].text))
    if found.llama_guard.complete:
        assert len(text) < _IN_FULL
        # As the tokenizer gives it back: it may not tell all white space apart.
        said = " ".join(tokenizer().decode(tokenizer().encode(text, add_special_tokens=False)).split())
        prompts = [" ".join(each.split()) for each in found.texts]
        for at in range(0, max(1, len(said) - _PIECE), _PIECE // 2):
            assert any(said[at : at + _PIECE].strip() in each for each in prompts), said[at : at + _PIECE]
    wanted = attack.expected.get("llama_guard_reads", "")
    assert any(wanted in each for each in found.texts)
    assert not any(attack.expected.get("absent", "\0") in each for each in found.texts)
    assert verdict.coverage.llama_guard_windows >= attack.expected.get("llama_guard_windows", 1)


@models
@by_id
def test_the_verdict_says_what_was_found_of_it(attack: Attack) -> None:
    verdict = verdicts()[attack.id]
    assert isinstance(verdict, Verdict)
    expected = attack.expected
    assert verdict.coverage.delimiters_neutralised == expected.get("neutralised", 0)
    assert verdict.judged_role == expected.get("judged_role", "user")
    assert verdict.coverage.images == expected.get("images", 0)
    dropped = expected.get("turns_dropped", 0)
    assert verdict.coverage.turns_dropped >= dropped if dropped else verdict.coverage.turns_dropped == 0
    assert Reason.UNPARSEABLE not in verdict.reasons and Reason.GUARD_ERROR not in verdict.reasons


@models
@pytest.mark.parametrize(
    "attack", [each for each in judged if "prompt_guard_reads" in each.expected], ids=lambda attack: attack.id
)
def test_prompt_guard_reads_what_is_hidden(attack: Attack) -> None:
    """Its windows hold the tokens of the plain text, side by side."""
    plain = Attack("plain", "worker", [{"role": "user", "content": attack.expected["prompt_guard_reads"]}], {})
    (whole,) = prepared(plain).prompt_guard.checks
    wanted = whole.payload[1:-1]  # without the special tokens around a window
    windows = [check.payload for check in prepared(attack).prompt_guard.checks]
    assert any(
        window[at : at + len(wanted)] == wanted for window in windows for at in range(len(window) - len(wanted) + 1)
    )


@models
@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if "dead_letter" in each.expected], ids=lambda attack: attack.id
)
def test_what_cannot_be_judged_is_a_dead_letter(attack: Attack) -> None:
    assert verdicts()[attack.id] == Dead(attack.expected["dead_letter"])
