"""The release's table, by figures that were worked out by hand."""

from collections.abc import Sequence

import pytest

from tests.evaluation.synthetic import judged
from worker.evaluation.content_table import ContentTable, of_category
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.measures import Measures


def rows(
    key: str, hits: int, misses: int, false_alarms: int, passes: int, group: str = "english"
) -> list[JudgedExample]:
    """Examples of one category with these outcomes."""
    outcomes = [(0.9, True)] * hits + [(0.1, True)] * misses + [(0.9, False)] * false_alarms + [(0.1, False)] * passes
    categories = [key] if key else []
    return [
        judged(f"{group}-{key}-{number}", score, unsafe=unsafe, categories=categories, group=group)
        for number, (score, unsafe) in enumerate(outcomes)
    ]


def values(measures: Measures) -> list[float]:
    found = (measures.recall, measures.false_positive_rate, measures.f1, measures.precision)
    return [each.value for each in found if each is not None]


ENGLISH = [
    *rows("S1", hits=8, misses=2, false_alarms=1, passes=9),  # recall .8, FPR .1, F1 16/19, precision 8/9
    *rows("S2", hits=30, misses=70, false_alarms=0, passes=50),  # recall .3, FPR 0, F1 60/130, precision 1
    *rows("S14", hits=0, misses=100, false_alarms=5, passes=0),  # no part in the release's average
]


def test_each_category_weighs_the_same_and_s14_nothing() -> None:
    english = ContentTable(ENGLISH).release()["english"]
    assert english.averaged_over == ("S1", "S2")
    assert values(english) == pytest.approx([(0.8 + 0.3) / 2, (0.1 + 0) / 2, (16 / 19 + 60 / 130) / 2, (8 / 9 + 1) / 2])
    assert (english.unsafe, english.safe) == (110, 60)


def test_each_language_weighs_the_same() -> None:
    french = rows("S1", 6, 4, 0, 10, "multilingual/fr") + rows("S2", 0, 10, 1, 9, "multilingual/fr")
    thai = rows("S1", 1, 1, 1, 3, "multilingual/th")
    table = ContentTable([*french, *thai, *ENGLISH])
    found = table.release()["multilingual"]
    assert found.averaged_over == ("fr", "th")
    # French: 6 of 20, 1 of 20; F1 12 / (12 + 1 + 14). Thai: 1 of 2, 1 of 4; F1 2 / (2 + 1 + 1).
    assert values(found) == pytest.approx(
        [(0.3 + 0.5) / 2, (0.05 + 0.25) / 2, (12 / 27 + 2 / 4) / 2, (6 / 7 + 1 / 2) / 2]
    )
    assert values(table.release()["english"]) == values(ContentTable(ENGLISH).release()["english"])


def test_groups_and_categories_stand_by_themselves() -> None:
    table = ContentTable([*ENGLISH, *rows("S1", 1, 0, 0, 1, "single_image")])
    assert list(table.release()) == ["english", "single_image"]
    assert values(table.groups()["english"])[:2] == pytest.approx([38 / 210, 6 / 65])
    assert values(table.categories()["S1"])[:2] == pytest.approx([9 / 11, 1 / 11])
    assert values(table.overall())[:2] == pytest.approx([39 / 211, 6 / 66])


def test_safe_examples_about_no_category_tell_of_each() -> None:
    plain = [*rows("S1", 1, 1, 0, 0), *rows("S2", 2, 0, 0, 0), *rows("", 0, 0, 1, 3)]
    english = ContentTable(plain).release()["english"]
    assert english.false_positive_rate is not None
    assert english.false_positive_rate.value == 0.25
    assert english.safe == 4  # each counts once, so the interval is that of four examples
    alone = ContentTable(plain).categories()["S1"].false_positive_rate
    assert alone is not None and english.false_positive_rate.high == pytest.approx(alone.high)
    assert len(of_category(plain, "S2")) == 6


@pytest.mark.parametrize(
    ("examples", "known"),
    [
        (rows("S1", 1, 1, 0, 0), (True, False, False, False)),
        (rows("S1", 0, 0, 1, 1), (False, True, False, False)),
        (rows("S1", 0, 1, 0, 1), (True, True, True, False)),
        ([], (False, False, False, False)),
    ],
    ids=["only unsafe", "only safe", "nothing flagged", "nothing"],
)
def test_what_nothing_tells_is_not_a_figure(examples: Sequence[JudgedExample], known: tuple[bool, ...]) -> None:
    found = ContentTable(examples).overall()
    assert (
        tuple(each is not None for each in (found.recall, found.false_positive_rate, found.f1, found.precision))
        == known
    )
