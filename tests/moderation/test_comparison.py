"""Comparison: events under two sets of policies, judged once wherever that answers for both."""

import json
from typing import Any

import pytest

from tests.fakes import FakeGuard, fake_llama_guard, fake_prompt_guard
from worker.guards.guard import Finding
from worker.moderation.comparison import DEAD_LETTER, Compared, Comparison
from worker.moderation.options import ModeratorOptions
from worker.moderation.panel import Panel
from worker.moderation.request import tell
from worker.policy.policy import Policy
from worker.policy.store import PolicyStore

OPTIONS = ModeratorOptions(batch_tokens={"llama_guard": 1000, "prompt_guard": 1000}, batch_wait=0.0)


def line(text: Any, number: int = 0, **fields: Any) -> bytes:
    messages = [{"role": fields.pop("role", "user"), "content": text}]
    return json.dumps({"event_id": f"e{number}", "conversation_id": "c", "messages": messages, **fields}).encode()


def guards() -> list[FakeGuard]:
    """Llama Guard finds S9 with the P(unsafe) that the text is."""
    return [fake_llama_guard(lambda text: Finding(float(text), ("S9",))), fake_prompt_guard(lambda _text: 0.1)]


async def compared(
    old: dict[str, Any], new: dict[str, Any], *lines: bytes, **options: Any
) -> tuple[list[Compared], Comparison, int]:
    """What comes of the lines, the comparison, and how many checks Llama Guard judged."""
    used = guards()
    panel = Panel(used, OPTIONS, tell)
    stores = [PolicyStore({name: Policy(name=name, **values)}) for name, values in (("p", old), ("p", new))]
    comparison = Comparison(panel, *stores, default_policy="p", **options)
    try:
        found = [each async for each in comparison.compare(lines)]
    finally:
        panel.close()
    return found, comparison, sum(map(len, used[0].batches))


async def test_other_thresholds_are_decided_on_one_answer() -> None:
    scores = [0.1, 0.55, 0.8]
    found, comparison, checks = await compared(
        {"unsafe_threshold": 0.5},
        {"unsafe_threshold": 0.7, "categories": {"S1": {"threshold": 0.2}}},
        *(line(str(score), number) for number, score in enumerate(scores)),
    )
    assert [(each.old.outcome, each.new.outcome, each.differs) for each in found] == [
        ("safe", "safe", False),
        ("unsafe", "safe", True),
        ("unsafe", "unsafe", False),
    ]
    assert [(each.line, each.event_id) for each in found] == [(1, "e0"), (2, "e1"), (3, "e2")]
    assert (checks, comparison.tally.judged_twice) == (3, 0)
    assert comparison.tally.outcomes == {("safe", "safe"): 1, ("unsafe", "safe"): 1, ("unsafe", "unsafe"): 1}
    assert found[1].old.explanation.startswith("unsafe: Llama Guard P(unsafe) 0.55 >= 0.5")
    assert found[1].new.explanation == "safe: nothing found (policy p)"


@pytest.mark.parametrize(
    ("old", "new", "twice"),
    [
        ({"excluded_categories": ["S1"]}, {}, True),
        ({"excluded_categories": ["S1"], "excluded_mode": "filter"}, {}, False),
        ({"excluded_categories": ["S1"]}, {"excluded_categories": ["S1"], "excluded_mode": "filter"}, True),
        ({"judged_roles": ["assistant"]}, {}, False),
        ({"images": "ignore"}, {"images": "review"}, False),  # there is none
    ],
)
async def test_another_question_is_asked_anew(old: dict[str, Any], new: dict[str, Any], twice: bool) -> None:
    _, comparison, checks = await compared(old, new, line("0.9"))
    assert (comparison.tally.judged_twice, checks) == (int(twice), 2 if twice else 1)


async def test_images_that_one_ignores_are_judged_for_the_other() -> None:
    picture = [{"type": "text", "text": "0.1"}, {"type": "image", "data": "AAAA"}]
    found, comparison, _ = await compared({"images": "ignore"}, {"images": "review"}, line(picture))
    assert (found[0].old.outcome, found[0].new.outcome, comparison.tally.judged_twice) == ("safe", "review", 1)


async def test_lines_that_are_no_events_and_dead_letters_are_told() -> None:
    used = guards()
    panel = Panel(used, OPTIONS, tell)
    comparison = Comparison(panel, PolicyStore({"p": Policy(name="p")}), PolicyStore())
    lines = [b"not JSON", line("0.9", 1, policy="p"), line("0.1", 2, role="system"), line("0.1", 3)]
    try:
        found = [each async for each in comparison.compare(lines)]
    finally:
        panel.close()
    assert [(each.line, each.old.outcome, each.new.outcome) for each in found] == [
        (2, "unsafe", DEAD_LETTER),
        (3, DEAD_LETTER, DEAD_LETTER),
        (4, "safe", "safe"),
    ]
    assert [each.differs for each in found] == [True, False, False]
    assert found[0].new.explanation == "dead letter: unknown_policy"
    assert (comparison.tally.unreadable, comparison.tally.events) == (1, 3)


async def test_a_stand_in_is_named_and_another_category_is_a_change() -> None:
    found, _, _ = await compared(
        {"categories": {"S9": {"action": "ignore"}}}, {"excluded_categories": ["S9"]}, line("0.9"), stand_in=True
    )
    assert (found[0].old.outcome, found[0].new.outcome, found[0].differs) == ("safe", "safe", True)
    assert found[0].old.explanation.endswith("(policy p, stand-in)")


async def test_many_lines_stay_in_order() -> None:
    found, _, _ = await compared({}, {"unsafe_threshold": 0.3}, *(line("0.4", number) for number in range(1000)))
    assert [each.line for each in found] == list(range(1, 1001))
