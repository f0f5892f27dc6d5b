"""Single flight: who leads, who follows, and what becomes of the followers when their leader has no answer."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker.contract.errors import Stage, Unjudgeable
from worker.contract.record import PlainRecord
from worker.contract.verdict import Coverage, Label, Reason
from worker.guards.runner import DeviceLost
from worker.moderation.decision import Decision
from worker.moderation.request import Request
from worker.moderation.single_flight import SingleFlight
from worker.moderation.verdict_cache import Judgement, VerdictCache
from worker.observability import metrics

KEY, OTHER = b"k" * 32, b"o" * 32
SAFE = Judgement(Decision(Label.SAFE), Coverage())
REVIEW = Judgement(Decision(Label.REVIEW, (Reason.AMBIGUOUS,)), Coverage())
FAULTY = Judgement(Decision(Label.UNSAFE, (Reason.LLAMA_GUARD, Reason.TOO_LARGE)), Coverage())


class Events:
    """Events whose judgements the test gives, in the order in which they were asked for."""

    def __init__(self, cache_bytes: int) -> None:
        self.flight = SingleFlight(VerdictCache(cache_bytes))
        self.judging: list[tuple[str, Request]] = []
        self.answered: dict[str, tuple[Judgement | BaseException, bool]] = {}
        self._requests: dict[str, Request] = {}

    def come(self, *names: str, key: bytes = KEY) -> None:
        """Events of one content."""
        for name in names:
            request = self._requests[name] = Request(PlainRecord("t", 0, 0), 0.0, lambda _: None)
            request.key = key
            if self.flight.leads(request):
                self._ask(request)
            elif request.judgement is not None:
                self._told(request)

    def answer(self, name: str, answer: Judgement | BaseException) -> None:
        """One of the judgements is there."""
        request = self._requests[name]
        if isinstance(answer, BaseException):
            request.fail(answer)
        else:
            request.judgement = answer
        self._told(request)
        self.flight.keep(request)
        joined, alone = self.flight.came(request)
        for each in joined:
            self._told(each)
        for each in alone:
            self._ask(each)

    def give_up(self, *names: str) -> None:
        for name in names:
            request = self._requests[name]
            request.over = True
            if (following := self.flight.gave_up(request)) is not None:
                self._ask(following)

    @property
    def asked(self) -> str:
        """The names of the events that were judged themselves so far."""
        return "".join(name for name, _ in self.judging)

    def _name_of(self, request: Request) -> str:
        (name,) = (name for name, each in self._requests.items() if each is request)
        return name

    def _ask(self, request: Request) -> None:
        assert not request.over
        self.judging.append((self._name_of(request), request))

    def _told(self, request: Request) -> None:
        name = self._name_of(request)
        assert name not in self.answered, "told twice"
        assert not request.over or request.error is not None, "told who was given up"
        found = request.error if request.error is not None else request.judgement
        assert found is not None
        self.answered[name] = found, request.cached


@contextmanager
def events(cache_bytes: int = 1 << 20) -> Iterator[Events]:
    found = Events(cache_bytes)
    yield found
    assert len(found.flight) == 0, "somebody is still led"


# -- judged once


def test_the_first_is_judged_and_those_that_come_meanwhile_take_its_answer() -> None:
    with events() as given:
        given.come("a", "b", "c")
        assert given.asked == "a"
        given.answer("a", SAFE)
        assert given.answered == {"a": (SAFE, False), "b": (SAFE, True), "c": (SAFE, True)}


def test_those_that_come_later_take_the_kept_answer() -> None:
    with events() as given:
        given.come("a")
        given.answer("a", SAFE)
        given.come("b", "c")
        assert given.answered == {"a": (SAFE, False), "b": (SAFE, True), "c": (SAFE, True)}
        assert given.asked == "a"


def test_contents_do_not_wait_for_each_other() -> None:
    with events() as given:
        given.come("a")
        given.come("b", key=OTHER)
        given.answer("b", FAULTY)
        assert given.answered == {"b": (FAULTY, False)}
        given.answer("a", SAFE)


def test_what_the_cache_has_no_room_for_is_still_joined() -> None:
    with events(cache_bytes=1) as given:
        given.come("a", "b")
        given.answer("a", SAFE)
        assert given.answered == {"a": (SAFE, False), "b": (SAFE, True)}
        given.come("c")
        assert given.asked == "ac"
        given.answer("c", SAFE)


def test_lookups_are_counted_by_what_came_of_them() -> None:
    def counted() -> list[float]:
        return [metrics.VERDICT_CACHE_LOOKUPS.labels(each).value for each in ("miss", "joined", "hit")]

    before = counted()
    with events() as given:
        given.come("a", "b", "c")
        given.answer("a", SAFE)
        given.come("d", "e", "f")
        given.come("g", "h", key=OTHER)
        given.answer("g", REVIEW)
        given.answer("h", REVIEW)
    assert [after - each for after, each in zip(counted(), before, strict=True)] == [3, 2, 3]


# -- no answer to share


@pytest.mark.parametrize("answer", [REVIEW, FAULTY])
def test_where_the_first_has_no_answer_for_others_each_is_judged_on_its_own(answer: Judgement) -> None:
    with events() as given:
        given.come("a", "b", "c")
        given.answer("a", answer)
        assert given.asked == "abc"  # at once: they wait for nobody any more
        for name in "cb":
            given.answer(name, answer)
        given.come("d")
        given.answer("d", answer)
        assert given.answered == dict.fromkeys("abcd", (answer, False))
        assert given.asked == "abcd"


@pytest.mark.parametrize(
    "error", [Unjudgeable("image_broken", "not an image", Stage.PREPARE), DeviceLost("gone"), ValueError("a bug")]
)
def test_where_the_first_fails_each_is_judged_on_its_own(error: Exception) -> None:
    with events() as given:
        given.come("a", "b", "c")
        given.answer("a", error)
        assert given.asked == "abc"
        given.answer("b", SAFE)
        given.answer("c", error)
        assert given.answered == {"a": (error, False), "b": (SAFE, False), "c": (error, False)}


def test_what_was_judged_on_its_own_is_kept_if_it_may_be() -> None:
    with events() as given:
        given.come("a", "b")
        given.answer("a", FAULTY)
        given.answer("b", SAFE)
        given.come("c")
        assert given.answered["c"] == (SAFE, True)


# -- given up


def test_where_the_first_is_given_up_one_of_the_others_leads() -> None:
    with events() as given:
        given.come("a", "b", "c", "d")
        given.give_up("a")
        assert given.asked == "ab"
        given.come("e")
        given.answer("b", SAFE)
        assert given.answered == {"b": (SAFE, False), "c": (SAFE, True), "d": (SAFE, True), "e": (SAFE, True)}


def test_leaders_that_are_given_up_one_after_the_other_leave_the_last_one_judged() -> None:
    with events() as given:
        given.come(*"abcd")
        given.give_up(*"abc")
        assert given.asked == "abcd"
        given.answer("d", SAFE)
        assert given.answered == {"d": (SAFE, False)}


def test_who_follows_and_is_given_up_harms_nobody() -> None:
    with events() as given:
        given.come(*"abcd")
        given.give_up("b", "d")
        given.answer("a", SAFE)
        assert given.answered == {"a": (SAFE, False), "c": (SAFE, True)}
        assert given.asked == "a"


def test_who_was_given_up_before_its_turn_takes_no_lead() -> None:
    with events() as given:
        given.come("a", "b", "c")
        given.give_up("b", "a")
        assert given.asked == "ac"
        given.answer("c", SAFE)
        assert given.answered == {"c": (SAFE, False)}


@pytest.mark.parametrize("order", ["abc", "cba", "bac"])
def test_all_may_be_given_up(order: str) -> None:
    with events() as given:
        given.come("a", "b", "c")
        given.give_up(*order)
        assert given.answered == {}


def test_giving_up_twice_changes_nothing() -> None:
    with events() as given:
        given.come("a", "b")
        given.give_up("a", "a", "b", "b", "a")
        given.come("c")
        given.give_up("a", "b")
        given.answer("c", SAFE)
        assert given.answered == {"c": (SAFE, False)}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_in_whatever_order_everyone_who_stays_is_answered(seed: int) -> None:
    rng = random.Random(seed)
    error = Unjudgeable("image_broken", "not an image", Stage.PREPARE)
    with events(cache_bytes=rng.choice((1, 1 << 20))) as given:
        names = [chr(0x100 + number) for number in range(300)]
        gone: set[str] = set()

        def judge_one() -> None:
            open_ones = [name for name, request in given.judging if not request.over and name not in given.answered]
            if open_ones:
                answer = error if rng.random() < 0.2 else rng.choice((SAFE, SAFE, SAFE, REVIEW, FAULTY))
                given.answer(rng.choice(open_ones), answer)

        for number, name in enumerate(names):
            given.come(name, key=bytes([number // 20, rng.randrange(2)]))  # some contents at a time
            for _ in range(rng.randrange(3)):
                judge_one()
            left = [each for each in names[: number + 1] if each not in given.answered]
            if rng.random() < 0.5 and left:
                gone.add(leaver := rng.choice(left))
                given.give_up(leaver)
        while len(given.answered) + len(gone) < len(names):
            judge_one()
    assert gone and gone.isdisjoint(given.answered)
    assert all(found == SAFE for found, cached in given.answered.values() if cached), "only what may be shared is"
