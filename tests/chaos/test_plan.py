"""A storm's plan: the same from the same seed, all that was asked for, and in the middle of the work."""

from collections import Counter
from itertools import accumulate

import pytest

from tests.chaos.events import POISON, storm_events
from tests.chaos.plan import GRACEFUL, HISTORY, RESTARTS, SHORT_HISTORY, SHORT_STORM, STORM, Act, Form, plan

FORMS = (STORM, GRACEFUL, HISTORY, SHORT_STORM, SHORT_HISTORY)
SEEDS = range(1, 31)

every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def test_the_storm_is_the_one_that_was_promised() -> None:
    assert (STORM.events, STORM.partitions, STORM.most_workers, STORM.poisons) == (100_000, 32, 6, 5)
    for seed in SEEDS:
        acts = Counter(step.act for step in plan(STORM, seed))
        assert sum(times for act, times in acts.items() if act in RESTARTS) >= 24
        assert min(acts[act] for act in (Act.KILL, Act.TERM, Act.JOIN)) >= 6
        assert acts[Act.BOUNCE] == 3


@pytest.mark.parametrize("form", [GRACEFUL, HISTORY, SHORT_HISTORY], ids=lambda form: form.name)
def test_a_graceful_form_kills_nothing(form: Form) -> None:
    assert not form.kills
    for seed in SEEDS:
        acts = Counter(step.act for step in plan(form, seed))
        assert acts.keys() - {Act.LEAVE} == {Act.TERM, Act.JOIN, Act.ROLL}
        assert acts[Act.ROLL] >= form.workers * form.acts[Act.ROLL], "a step for each worker"
    assert all(event.wanted != POISON for event in storm_events(form.scaled(2_000), 1))


@every_form
def test_a_seed_says_everything(form: Form) -> None:
    assert plan(form, 1) == plan(form, 1) != plan(form, 2)
    small = form.scaled(2_000)
    assert [*storm_events(small, 1)] == [*storm_events(small, 1)] != [*storm_events(small, 2)]


@every_form
def test_steps_come_one_after_the_other_while_there_is_work(form: Form) -> None:
    for seed in SEEDS:
        places = [step.at for step in plan(form, seed)]
        assert places == sorted(places)
        assert form.events * 0.04 < places[0]
        assert places[-1] < form.events * 0.95


@every_form
def test_there_are_never_more_workers_than_there_may_be(form: Form) -> None:
    change = {Act.JOIN: 1, Act.LEAVE: -1}
    for seed in SEEDS:
        workers = [*accumulate((change.get(step.act, 0) for step in plan(form, seed)), initial=form.workers)]
        assert form.workers <= max(workers) <= form.most_workers
        assert min(workers) >= 2


@every_form
def test_events_are_as_mixed_as_the_form_says(form: Form) -> None:
    form = form.scaled(10_000)
    events = [*storm_events(form, 1)]
    wanted = Counter(event.wanted for event in events)
    malformed = sum(times for outcome, times in wanted.items() if outcome.kind == "dead_letter" and outcome != POISON)
    assert len(events) == form.events
    assert wanted[POISON] == form.poisons
    assert 0.5 * form.malformed < malformed / form.events < 1.5 * form.malformed
    assert {outcome.kind for outcome in wanted} == {"safe", "unsafe", "review", "dead_letter"}
    assert any(b"OUT-OF-MEMORY " in (event.value or b"") for event in events)
    assert any(b"OUT-OF-MEMORY-TOGETHER" in (event.value or b"") for event in events)
