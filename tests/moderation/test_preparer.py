"""The preparer's threads: everyone gets their own result, and one bad event harms no other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.fakes import FakeGuard
from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import PlainRecord
from worker.guards.guard import Check, Preparation
from worker.moderation.preparer import Preparer
from worker.moderation.request import Request, answered, tell
from worker.moderation.scope import Scope
from worker.policy.policy import DEFAULT_POLICY, Policy

PATIENCE = 60  # seconds before a test that hangs fails


def event(text: str) -> ChatEvent:
    return ChatEvent.model_validate(
        {"event_id": text, "conversation_id": "c", "messages": [{"role": "user", "content": text}]}
    )


class HookGuard(FakeGuard):
    """Does something with each text before it prepares it."""

    def __init__(self, hook: Callable[[str], None], name: str = "llama_guard") -> None:
        super().__init__(name)
        self.prepared: list[str] = []
        self._hook = hook

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        text = event.messages[-1].text
        self.prepared.append(text)
        self._hook(text)
        return Preparation([Check(1, (self.name, policy.name, text))])


class Gate:
    """Holds the thread that comes with a certain text until it is opened."""

    def __init__(self, *held: str) -> None:
        self.reached, self._open, self._held = threading.Semaphore(0), threading.Event(), held

    def __call__(self, text: str) -> None:
        if text in self._held:
            self.reached.release()
            assert self._open.wait(PATIENCE)

    async def wait(self) -> None:
        """Until one more thread is held."""
        assert await asyncio.to_thread(self.reached.acquire, timeout=PATIENCE)

    def open(self) -> None:
        self._open.set()


class Desk:
    """The preparer as one who waits for each event sees it."""

    def __init__(self, guards: Sequence[FakeGuard], threads: int = 2, most_ahead: int = 1_000_000) -> None:
        self.preparer = Preparer(guards, threads, most_ahead, self._prepared)
        self._requests: dict[int, Request] = {}

    def _prepared(self, requests: Sequence[Request]) -> None:
        over = [request for request in requests if request.over]
        self.preparer.done_with(over)
        tell(request for request in requests if not request.over)

    async def prepare(self, event: ChatEvent, policy: Policy = DEFAULT_POLICY) -> list[Preparation]:
        request = Request.about(event, policy, PlainRecord("t", 0, 0), 0.0)
        request.scope = Scope(event)
        await answered(request, self.preparer.prepare, self._give_up)
        preparations = [answer.preparation for answer in request.answers]
        self._requests[id(preparations)] = request
        return preparations

    def done_with(self, preparations: list[Preparation]) -> None:
        self.preparer.done_with([self._requests[id(preparations)]])

    def _give_up(self, request: Request) -> None:
        request.over = True
        self.preparer.done_with([request])


@asynccontextmanager
async def preparing(guards: Sequence[FakeGuard], threads: int = 2, most_ahead: int = 1_000_000) -> AsyncIterator[Desk]:
    desk = Desk(guards, threads, most_ahead)
    try:
        async with asyncio.timeout(PATIENCE):
            yield desk
    finally:
        desk.preparer.close()


async def test_every_guard_prepares_the_event_in_the_guards_order() -> None:
    guards = [HookGuard(lambda text: None, name) for name in ("llama_guard", "prompt_guard")]
    async with preparing(guards) as preparer:
        prepared = await preparer.prepare(event("hi"), DEFAULT_POLICY)
    assert [each.checks[0].payload for each in prepared] == [
        ("llama_guard", "default", "hi"),
        ("prompt_guard", "default", "hi"),
    ]


@pytest.mark.parametrize("threads", [1, 2, 5])
async def test_of_many_events_each_gets_its_own_preparation(threads: int) -> None:
    policies = [Policy(name=f"p{number}") for number in range(3)]

    async def one(number: int) -> bool:
        policy = policies[number % 3]
        (prepared,) = await preparer.prepare(event(str(number)), policy)
        return prepared.checks[0].payload == ("llama_guard", policy.name, str(number))

    guard = HookGuard(lambda text: None)
    async with preparing([guard], threads) as preparer:
        for wave in range(5):  # the threads fall idle and wake again
            assert all(await asyncio.gather(*(one(100 * wave + number) for number in range(100))))
    assert sorted(map(int, guard.prepared)) == list(range(500))


async def test_an_unjudgeable_event_passes_its_cause_on_and_the_next_guard_is_not_asked() -> None:
    cause = Unjudgeable("broken_image", "messages.0.content.0: not an image", Stage.PREPARE)

    def refuse(text: str) -> None:
        raise cause

    other = HookGuard(lambda text: None, "prompt_guard")
    async with preparing([HookGuard(refuse), other]) as preparer:
        with pytest.raises(Unjudgeable) as caught:
            await preparer.prepare(event("x"), DEFAULT_POLICY)
    assert caught.value is cause
    assert other.prepared == []


class Panic(BaseException):
    """What a panic in a library written in Rust is: no Exception."""


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError, Panic, SystemExit])
async def test_any_other_error_makes_the_event_unjudgeable_and_the_thread_goes_on(error: type[BaseException]) -> None:
    def fail(text: str) -> None:
        if text == "canary":
            raise error(f"cannot take {text!r}")

    async with preparing([HookGuard(fail)], threads=1) as preparer:
        with capture_logs() as logs:
            bad, *good = await asyncio.gather(
                *(preparer.prepare(event(text), DEFAULT_POLICY) for text in ("canary", "a", "b")),
                return_exceptions=True,
            )
        assert await preparer.prepare(event("later"), DEFAULT_POLICY)
    assert isinstance(bad, Unjudgeable)
    assert (bad.error_type, bad.stage) == ("prepare_failed", Stage.PREPARE)
    assert bad.message == f"the event could not be prepared ({error.__name__})"
    assert not any(isinstance(each, BaseException) for each in good)
    (line,) = logs
    assert (line["log_level"], line["exception"]) == ("error", error.__name__)
    assert "cannot take" not in str(logs)  # its words may quote content


async def test_a_cancelled_event_is_not_prepared() -> None:
    gate = Gate("first")
    guard = HookGuard(gate)
    async with preparing([guard], threads=1) as preparer:
        tasks = [
            asyncio.create_task(preparer.prepare(event(text), DEFAULT_POLICY)) for text in ("first", "second", "third")
        ]
        await gate.wait()
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        gate.open()
        await tasks[2]
        assert tasks[1].cancelled()
    assert guard.prepared == ["first", "third"]


async def test_an_event_cancelled_while_it_is_prepared_harms_nobody() -> None:
    gate = Gate("first")
    async with preparing([HookGuard(gate)], threads=1) as preparer:
        first = asyncio.create_task(preparer.prepare(event("first"), DEFAULT_POLICY))
        await gate.wait()
        first.cancel()
        await asyncio.wait([first])
        gate.open()
        assert await preparer.prepare(event("second"), DEFAULT_POLICY)
        assert first.cancelled()


async def test_a_slow_event_does_not_hold_up_another_while_a_thread_is_free() -> None:
    gate = Gate("slow")
    async with preparing([HookGuard(gate)], threads=2) as preparer:
        slow = asyncio.create_task(preparer.prepare(event("slow"), DEFAULT_POLICY))
        await gate.wait()
        assert await preparer.prepare(event("quick"), DEFAULT_POLICY)
        assert not slow.done()
        gate.open()
        await slow


async def test_a_finished_event_does_not_wait_for_the_next_one_of_its_thread() -> None:
    first, gate = Gate("quick"), Gate("slow")
    async with preparing([HookGuard(lambda text: (first(text), gate(text))[0])], threads=1) as preparer:
        quick = asyncio.create_task(preparer.prepare(event("quick"), DEFAULT_POLICY))
        await first.wait()
        slow = asyncio.create_task(preparer.prepare(event("slow"), DEFAULT_POLICY))
        await asyncio.sleep(0)  # it is queued: the thread goes from the one to the other
        first.open()
        await quick
        assert not slow.done()
        gate.open()
        await slow


async def test_no_more_threads_than_asked_for() -> None:
    gate = Gate(*"abcd")
    guard = HookGuard(gate)
    async with preparing([guard], threads=2) as preparer:
        tasks = [asyncio.create_task(preparer.prepare(event(text), DEFAULT_POLICY)) for text in "abcd"]
        await gate.wait()
        await gate.wait()
        assert len(guard.prepared) == 2
        gate.open()
        await asyncio.gather(*tasks)


async def test_closing_waits_for_the_event_at_hand_and_starts_no_other() -> None:
    gate = Gate("first")
    guard = HookGuard(gate)
    desk = Desk([guard], 1, most_ahead=1000)
    tasks = [asyncio.create_task(desk.prepare(event(text))) for text in ("first", "second")]
    await gate.wait()
    desk.preparer._jobs.pop()  # as close() does; here before the thread gets to it
    gate.open()
    desk.preparer.close()
    assert guard.prepared == ["first"]
    await tasks[0]
    tasks[1].cancel()


async def test_it_runs_ahead_of_the_guards_only_so_far() -> None:
    guard = HookGuard(lambda text: None)  # a token an event
    async with preparing([guard], threads=1, most_ahead=3) as preparer:
        asked = [asyncio.create_task(preparer.prepare(event(str(n)), DEFAULT_POLICY)) for n in range(10)]
        first = await asyncio.gather(*asked[:3])
        assert guard.prepared == ["0", "1", "2"]
        preparer.done_with(first[0])
        await asked[3]
        assert guard.prepared == ["0", "1", "2", "3"]
        for prepared in first[1:]:
            preparer.done_with(prepared)
        await asyncio.gather(*asked[4:6])
        for task in asked[6:]:
            task.cancel()


async def test_what_was_prepared_for_someone_who_left_makes_room() -> None:
    gate = Gate("left")
    guard = HookGuard(gate)
    async with preparing([guard], threads=1, most_ahead=1) as preparer:
        leaving = asyncio.create_task(preparer.prepare(event("left"), DEFAULT_POLICY))
        await gate.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.open()
        await preparer.prepare(event("next"), DEFAULT_POLICY)


async def test_leaving_when_it_is_prepared_makes_room_once() -> None:
    guard = HookGuard(lambda text: None)
    async with preparing([guard], threads=1, most_ahead=2) as desk:
        prepared = await desk.prepare(event("left"))
        for _ in range(3):  # as a request that is given up while it is handed back
            desk.done_with(prepared)
        asked = [asyncio.create_task(desk.prepare(event(str(number)))) for number in range(3)]
        await asyncio.gather(*asked[:2])
        await asyncio.sleep(0)
        assert guard.prepared == ["left", "0", "1"], "said three times it makes room for one"
        asked[2].cancel()
