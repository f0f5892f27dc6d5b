"""Single flight: who leads, who follows, and what becomes of the followers when their leader has no answer."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.verdict import Coverage, Label, Reason
from worker.guards.runner import DeviceLost
from worker.moderation.decision import Decision
from worker.moderation.single_flight import SingleFlight
from worker.moderation.verdict_cache import Judgement, VerdictCache
from worker.observability import metrics

KEY, OTHER = b"k" * 32, b"o" * 32
SAFE = Judgement(Decision(Label.SAFE), Coverage())
REVIEW = Judgement(Decision(Label.REVIEW, (Reason.AMBIGUOUS,)), Coverage())
FAULTY = Judgement(Decision(Label.UNSAFE, (Reason.LLAMA_GUARD, Reason.TOO_LARGE)), Coverage())

Answer = tuple[Judgement, bool]


class Events:
    """Events whose judgements the test gives, in the order in which they were asked for."""

    def __init__(self, cache_bytes: int) -> None:
        self.flight = SingleFlight(VerdictCache(cache_bytes))
        self.judging: list[tuple[str, asyncio.Future[Judgement]]] = []

    async def start(self, *names: str, key: bytes = KEY) -> list["asyncio.Task[Answer]"]:
        """Tasks of events of one content."""
        tasks = [asyncio.create_task(self.flight.judge(key, lambda name=name: self._judge(name))) for name in names]
        await settle()
        return tasks

    async def _judge(self, name: str) -> Judgement:
        future: asyncio.Future[Judgement] = asyncio.get_running_loop().create_future()
        self.judging.append((name, future))
        return await future

    @property
    def asked(self) -> str:
        """The names of the events that were judged themselves so far."""
        return "".join(name for name, _ in self.judging)

    async def answer(self, number: int, answer: Judgement | BaseException) -> None:
        """One of the judgements is there."""
        if isinstance(answer, BaseException):
            self.judging[number][1].set_exception(answer)
        else:
            self.judging[number][1].set_result(answer)
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def events(cache_bytes: int = 1 << 20) -> AsyncIterator[Events]:
    async with asyncio.timeout(60):
        found = Events(cache_bytes)
        yield found
        await settle()
        assert found.flight._leaders == {}, "somebody is still led"


def results(tasks: list["asyncio.Task[Answer]"]) -> list[Answer]:
    return [task.result() for task in tasks]


# -- judged once


async def test_the_first_is_judged_and_those_that_come_meanwhile_take_its_answer() -> None:
    async with events() as given:
        tasks = await given.start("a", "b", "c")
        assert given.asked == "a"
        await given.answer(0, SAFE)
        assert results(tasks) == [(SAFE, False), (SAFE, True), (SAFE, True)]


async def test_those_that_come_later_take_the_kept_answer() -> None:
    async with events() as given:
        await given.start("a")
        await given.answer(0, SAFE)
        assert results(await given.start("b", "c")) == [(SAFE, True)] * 2
        assert given.asked == "a"


async def test_contents_do_not_wait_for_each_other() -> None:
    async with events() as given:
        (first,) = await given.start("a")
        (second,) = await given.start("b", key=OTHER)
        await given.answer(1, FAULTY)
        assert (second.result(), first.done()) == ((FAULTY, False), False)
        await given.answer(0, SAFE)


async def test_what_the_cache_has_no_room_for_is_still_joined() -> None:
    async with events(cache_bytes=1) as given:
        tasks = await given.start("a", "b")
        await given.answer(0, SAFE)
        assert results(tasks) == [(SAFE, False), (SAFE, True)]
        await given.start("c")
        assert given.asked == "ac"
        await given.answer(1, SAFE)


async def test_lookups_are_counted_by_what_came_of_them() -> None:
    def counted() -> list[float]:
        return [metrics.VERDICT_CACHE_LOOKUPS.labels(each).value for each in ("miss", "joined", "hit")]

    before = counted()
    async with events() as given:
        await given.start("a", "b", "c")
        await given.answer(0, SAFE)
        await given.start("d", "e", "f")
        await given.start("g", "h", key=OTHER)
        await given.answer(1, REVIEW)
        await given.answer(2, REVIEW)
    assert [after - each for after, each in zip(counted(), before, strict=True)] == [3, 2, 3]


# -- no answer to share


@pytest.mark.parametrize("answer", [REVIEW, FAULTY])
async def test_where_the_first_has_no_answer_for_others_each_is_judged_on_its_own(answer: Judgement) -> None:
    async with events() as given:
        tasks = await given.start("a", "b", "c")
        await given.answer(0, answer)
        assert given.asked == "abc"  # at once: they wait for nobody any more
        for number in (2, 1):
            await given.answer(number, answer)
        assert results(tasks) == [(answer, False)] * 3
        (later,) = await given.start("d")
        await given.answer(3, answer)
        assert later.result() == (answer, False)
        assert given.asked == "abcd"


@pytest.mark.parametrize(
    "error", [Unjudgeable("image_broken", "not an image", Stage.PREPARE), DeviceLost("gone"), ValueError("a bug")]
)
async def test_where_the_first_fails_each_is_judged_on_its_own(error: Exception) -> None:
    async with events() as given:
        first, *others = await given.start("a", "b", "c")
        await given.answer(0, error)
        assert first.exception() is error
        assert given.asked == "abc"
        await given.answer(1, SAFE)
        await given.answer(2, error)
        assert others[0].result() == (SAFE, False)
        assert others[1].exception() is error


async def test_what_was_judged_on_its_own_is_kept_if_it_may_be() -> None:
    async with events() as given:
        await given.start("a", "b")
        await given.answer(0, FAULTY)
        await given.answer(1, SAFE)
        assert results(await given.start("c")) == [(SAFE, True)]


# -- cancelled


async def test_where_the_first_is_cancelled_one_of_the_others_leads() -> None:
    async with events() as given:
        first, *others = await given.start("a", "b", "c", "d")
        first.cancel()
        await settle()
        assert first.cancelled()
        assert given.asked == "ab"
        (newcomer,) = await given.start("e")
        await given.answer(1, SAFE)
        assert results([*others, newcomer]) == [(SAFE, False), *[(SAFE, True)] * 3]


async def test_leaders_that_are_cancelled_one_after_the_other_leave_the_last_one_judged() -> None:
    async with events() as given:
        tasks = await given.start(*"abcd")
        for task in tasks[:3]:
            task.cancel()
            await settle()
        assert given.asked == "abcd"
        await given.answer(3, SAFE)
        assert tasks[3].result() == (SAFE, False)


async def test_who_follows_and_is_cancelled_harms_nobody() -> None:
    async with events() as given:
        tasks = await given.start(*"abcd")
        tasks[1].cancel()
        tasks[3].cancel()
        await settle()
        await given.answer(0, SAFE)
        assert results([tasks[0], tasks[2]]) == [(SAFE, False), (SAFE, True)]
        assert tasks[1].cancelled() and tasks[3].cancelled()
        assert given.asked == "a"


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
async def test_all_may_be_cancelled_at_the_same_moment(order: list[int]) -> None:
    async with events() as given:
        tasks = await given.start("a", "b", "c")
        for number in order:
            tasks[number].cancel()
        await settle()
        assert all(task.cancelled() for task in tasks)
        assert given.asked == "a"


async def test_who_is_cancelled_at_the_moment_of_taking_the_lead_leaves_it_to_the_next() -> None:
    async with events() as given:
        first, second, third = await given.start("a", "b", "c")
        given.judging[0][1].add_done_callback(lambda _: second.cancel())
        first.cancel()
        await settle()
        assert first.cancelled() and second.cancelled()
        assert given.asked == "ac"
        await given.answer(1, SAFE)
        assert third.result() == (SAFE, False)


async def test_a_leader_cancelled_when_its_answer_is_there_leaves_the_others_judged() -> None:
    async with events() as given:
        first, second = await given.start("a", "b")
        given.judging[0][1].set_result(SAFE)
        first.cancel()
        await settle()
        assert first.cancelled()
        assert given.asked == "ab"
        await given.answer(1, SAFE)
        assert second.result() == (SAFE, False)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_in_whatever_order_everyone_who_stays_is_answered(seed: int) -> None:
    rng = random.Random(seed)
    error = Unjudgeable("image_broken", "not an image", Stage.PREPARE)

    async def judge() -> Judgement:
        for _ in range(rng.randrange(8)):
            await asyncio.sleep(0)
        if rng.random() < 0.2:
            raise error
        return rng.choice((SAFE, SAFE, SAFE, REVIEW, FAULTY))

    async with events(cache_bytes=rng.choice((1, 1 << 20))) as given:
        tasks = []
        for _ in range(300):
            tasks.append(asyncio.create_task(given.flight.judge(rng.choice((KEY, OTHER)), judge)))
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        assert task.cancelled() or task.exception() is error or task.result()[0] in (SAFE, REVIEW, FAULTY)
        if not task.cancelled() and task.exception() is None and task.result()[1]:
            assert task.result()[0] == SAFE, "only what may be shared is"
    assert any(task.cancelled() for task in tasks)
