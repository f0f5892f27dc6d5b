"""Windows: the cut covers everything, or says that it does not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.guards.llama_guard.windows import Span, WindowSize, cut_windows, surely_fits


def word_spans(text: str) -> list[Span]:
    """A token a word, with the blank before it."""
    starts = [0, *(at for at, letter in enumerate(text) if letter == " " and at)] if text else []
    return list(pairwise([*starts, len(text)]))


def byte_spans(text: str) -> list[Span]:
    """A token a byte: a character of several bytes is several tokens with the same place."""
    return [(at, at + 1) for at, letter in enumerate(text) for _ in letter.encode()]


def test_a_short_text_is_its_own_window_and_never_counted() -> None:
    def never(_: str) -> list[Span]:
        raise AssertionError

    assert cut_windows("hello", never, WindowSize(10, 2, 3)).texts == ("hello",)
    assert cut_windows("", never, WindowSize(10, 2, 3)).texts == ("",)


def test_a_text_with_many_letters_and_few_tokens_is_one_window() -> None:
    cut = cut_windows("word " * 9, word_spans, WindowSize(10, 2, 3))
    assert (cut.texts, cut.complete) == (("word " * 9,), True)


def test_windows_overlap() -> None:
    text = "".join(chr(ord("a") + number) for number in range(20))
    cut = cut_windows(text, byte_spans, WindowSize(8, 2, 10))
    assert cut.texts == ("abcdefgh", "ghijklmn", "mnopqrst")
    assert cut.complete


def test_beyond_the_most_windows_both_ends_are_covered() -> None:
    cut = cut_windows("".join(map(str, range(1000))), byte_spans, WindowSize(16, 4, 5))
    assert not cut.complete
    assert len(cut.texts) == 5
    assert cut.texts[0].startswith("01234")
    assert cut.texts[-1].endswith("998999")


def test_one_window_at_most_is_the_beginning() -> None:
    cut = cut_windows("abcdefgh" * 4, byte_spans, WindowSize(8, 2, 1))
    assert (cut.texts, cut.complete) == (("abcdefgh",), False)


def test_of_a_huge_text_only_the_ends_are_counted() -> None:
    counted = []

    def spans(text: str) -> list[Span]:
        counted.append(len(text))
        return byte_spans(text)

    cut = cut_windows("é" * 5_000_000, spans, WindowSize(64, 16, 8))
    assert not cut.complete
    assert len(cut.texts) == 8
    assert sum(counted) < 64 * 8 * 6


@given(
    st.text(alphabet="ab é漢😀\n", max_size=300),
    st.integers(4, 12).flatmap(lambda tokens: st.tuples(st.just(tokens), st.integers(0, tokens - 1))),
    st.integers(1, 6),
)
def test_a_complete_cut_has_every_character_in_order(text: str, shape: tuple[int, int], most: int) -> None:
    cut = cut_windows(text, byte_spans, WindowSize(*shape, most))
    assert len(cut.texts) <= most
    assert all(window in text for window in cut.texts)
    if not cut.complete:
        assert text.startswith(cut.texts[0] if cut.texts else "")
        return
    reached = 0
    for window in cut.texts:
        begin = text.rfind(window, 0, reached + len(window))
        assert 0 <= begin <= reached
        reached = max(reached, begin + len(window))
    assert reached == len(text)


@pytest.mark.parametrize("wrong", [(0, 0, 1), (4, 4, 1), (4, -1, 1), (4, 1, 0)])
def test_impossible_sizes_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="windows of"):
        WindowSize(*wrong)


def test_bytes_decide_what_surely_fits() -> None:
    assert surely_fits("aaaa", 4)
    assert not surely_fits("éé", 3)
