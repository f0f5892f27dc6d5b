"""What the gated chat does by which verdict, and without one; the verdicts are given by hand."""

import asyncio
from collections.abc import Sequence

import pytest

from examples.python.gated_chat import Chat, Message, Rule, Turn, Verdict

SOON, NEVER_LATE = Rule(seconds=0.001), Rule(seconds=3600)


class ByHand:
    """A moderator whose verdicts a test gives; those not given are waited for."""

    def __init__(self, **given: Verdict | Exception) -> None:
        self.asked: list[list[str]] = []
        self.was_asked = asyncio.Event()
        self._verdicts: dict[str, asyncio.Future[Verdict]] = {}
        for text, verdict in given.items():
            self.give(text, verdict)

    async def verdict_on(self, conversation_id: str, messages: Sequence[Message]) -> Verdict:
        self.asked.append([message["content"] for message in messages])
        self.was_asked.set()
        return await self._of(messages[-1]["content"])

    def give(self, text: str, verdict: Verdict | Exception) -> None:
        if isinstance(verdict, Exception):
            self._of(text).set_exception(verdict)
        else:
            self._of(text).set_result(verdict)

    def _of(self, text: str) -> asyncio.Future[Verdict]:
        return self._verdicts.setdefault(text, asyncio.get_running_loop().create_future())


async def model(messages: Sequence[Message]) -> str:
    return "response"


async def say(chat: Chat, prompt: str) -> Turn:
    """Fails where it would wait for ever."""
    return await asyncio.wait_for(chat.say(prompt), 60)


SAFE, UNSAFE, REVIEW = Verdict("safe"), Verdict("unsafe", "S1,S9"), Verdict("review")


@pytest.mark.parametrize(
    ("prompt", "response", "on_review", "withheld", "asked"),
    [
        (SAFE, SAFE, "block", "", 2),
        (UNSAFE, SAFE, "allow", "prompt: unsafe S1,S9", 1),
        (SAFE, UNSAFE, "allow", "response: unsafe S1,S9", 2),
        (REVIEW, SAFE, "block", "prompt: review", 1),
        (SAFE, REVIEW, "block", "response: review", 2),
        (REVIEW, REVIEW, "allow", "", 2),
        (Verdict("of a later version"), SAFE, "allow", "prompt: of a later version", 1),
    ],
)
async def test_only_what_is_judged_well_goes_on(
    prompt: Verdict, response: Verdict, on_review: str, withheld: str, asked: int
) -> None:
    moderator, rule = ByHand(prompt=prompt, response=response), Rule(3600, "hold", on_review)
    turn = await say(Chat(moderator, model, rule, rule), "prompt")
    assert turn.withheld == withheld
    assert moderator.asked == [["prompt"], ["prompt", "response"]][:asked]


async def test_what_was_withheld_is_no_context_later() -> None:
    moderator = ByHand(first=SAFE, evil=UNSAFE, response=SAFE, last=SAFE)
    chat = Chat(moderator, model, NEVER_LATE, NEVER_LATE)
    for prompt in ("first", "evil", "last"):
        await say(chat, prompt)
    assert moderator.asked[-1] == ["first", "response", "last", "response"]


@pytest.mark.parametrize(("late", "withheld"), [(SAFE, "no verdict in time"), (UNSAFE, "unsafe S1,S9")])
async def test_block_withholds_a_prompt_for_good_and_still_hears_the_verdict(late: Verdict, withheld: str) -> None:
    moderator, told = ByHand(response=SAFE), asyncio.Queue[Turn]()
    turn = await say(Chat(moderator, model, SOON, NEVER_LATE, told.put_nowait), "prompt")
    assert turn.withheld == "prompt: no verdict in time"
    assert moderator.asked == [["prompt"]], "the model was not called"
    moderator.give("prompt", late)
    assert await asyncio.wait_for(told.get(), 60) is turn
    assert turn.withheld == f"prompt: {withheld}"


@pytest.mark.parametrize("what", ["prompt", "response"])
@pytest.mark.parametrize(("late", "shown"), [(SAFE, True), (UNSAFE, False), (REVIEW, False)])
async def test_allow_lets_through_and_retracts_by_the_late_verdict(what: str, late: Verdict, shown: bool) -> None:
    moderator, told = ByHand(**{"response" if what == "prompt" else "prompt": SAFE}), asyncio.Queue[Turn]()
    rules = {each: Rule(0.001 if each == what else 3600, "allow") for each in ("prompt", "response")}
    chat = Chat(moderator, model, rules["prompt"], rules["response"], told.put_nowait)
    turn = await say(chat, "prompt")
    assert (turn.response, turn.withheld) == ("response", "")
    moderator.give(what, late)
    assert await asyncio.wait_for(told.get(), 60) is turn
    assert not turn.withheld if shown else turn.withheld.startswith(f"{what}: {late.label}")
    chat.prompts = chat.responses = NEVER_LATE
    moderator.give("next", UNSAFE)
    await say(chat, "next")
    assert moderator.asked[2] == (["prompt", "response", "next"] if shown else ["next"])


async def test_hold_waits_for_the_verdict_however_long() -> None:
    moderator = ByHand(response=SAFE)
    talking = asyncio.create_task(Chat(moderator, model, Rule(0, "hold"), Rule(0, "hold")).say("prompt"))
    await moderator.was_asked.wait()
    assert not (await asyncio.wait({talking}, timeout=0.01))[0], "it is held"
    moderator.give("prompt", SAFE)
    assert (await talking).withheld == ""


async def test_what_is_held_for_nothing_is_withheld() -> None:
    turn = await say(Chat(ByHand(prompt=TimeoutError()), model, Rule(0, "hold"), NEVER_LATE), "prompt")
    assert turn.withheld == "prompt: no verdict"


async def test_what_was_let_through_and_is_never_judged_is_said(caplog: pytest.LogCaptureFixture) -> None:
    moderator = ByHand(response=SAFE)
    chat = Chat(moderator, model, Rule(0.001, "allow"), NEVER_LATE)
    turn = await say(chat, "prompt")
    (late,) = chat._late
    moderator.give("prompt", ConnectionError("no broker"))
    await asyncio.wait({late}, timeout=60)
    assert turn.withheld == ""
    assert "a prompt was never judged: ConnectionError('no broker')" in caplog.text


@pytest.mark.parametrize("action", ["block", "allow", "hold"])
async def test_a_question_that_cannot_be_asked_goes_no_further(action: str) -> None:
    chat = Chat(ByHand(prompt=ConnectionError("no broker")), model, Rule(3600, action), NEVER_LATE)
    with pytest.raises(ConnectionError):
        await say(chat, "prompt")
    assert chat.turns == []


async def test_a_cancelled_turn_stops_asking() -> None:
    moderator = ByHand()
    talking = asyncio.create_task(Chat(moderator, model, NEVER_LATE, NEVER_LATE).say("prompt"))
    await moderator.was_asked.wait()
    talking.cancel()
    await asyncio.wait({talking})
    assert moderator._of("prompt").cancelled()
