"""Windows: every token is in one, none is too long, and time is bounded whatever the text."""

import re
import time
from collections.abc import Sequence

import pytest

from worker.guards.prompt_guard.windows import WINDOW_TOKENS, Cut, WindowCutter

CLS, SEP = 1, 2
ROOM = WINDOW_TOKENS - 2


def encode(text: str) -> list[int]:
    """Words are numbers, and their own ids; anything else is a token a character."""
    return [
        token
        for word in text.split()
        for token in ([int(word) + 3] if re.fullmatch(r"[0-9]+", word) else map(ord, word))
    ]


def cutter(overlap: int = 64) -> WindowCutter:
    return WindowCutter(encode, before=(CLS,), after=(SEP,), overlap=overlap)


def numbers(count: int) -> str:
    return " ".join(str(number) for number in range(10, count + 10))


def covered(cut: Cut) -> Sequence[int]:
    return sorted({token - 13 for window in cut.windows for token in window[1:-1]})


@pytest.mark.parametrize("count", [1, 2, ROOM - 1, ROOM, ROOM + 1, 956, 957, 1402, 1403, 5_000, 32 * 446 + 64])
def test_every_token_is_in_a_window(count: int) -> None:
    cut = cutter().cut(numbers(count), 32)
    assert cut.complete
    assert covered(cut) == list(range(count))
    assert all(len(window) <= WINDOW_TOKENS for window in cut.windows)
    assert all(window[0] == CLS and window[-1] == SEP for window in cut.windows)
    assert len(cut.windows) == 1 + max(0, -(-(count - ROOM) // 446))


@pytest.mark.parametrize("overlap", [0, 1, 64, 200])
def test_consecutive_windows_share_the_overlap(overlap: int) -> None:
    cut = cutter(overlap).cut(numbers(2_000), 32)
    for one, other in zip(cut.windows, cut.windows[1:], strict=False):
        assert len(set(one[1:-1]) & set(other[1:-1])) == overlap
    assert covered(cut) == list(range(2_000))


@pytest.mark.parametrize("most", [1, 2, 3, 8, 32])
def test_beyond_the_cap_the_beginning_and_the_end_are_covered(most: int) -> None:
    count = most * 446 + 65
    cut = cutter().cut(numbers(count), most)
    assert not cut.complete
    assert len(cut.windows) == most
    assert 0 in covered(cut)
    assert (count - 1 in covered(cut)) == (most > 1)


def test_a_text_of_several_slices_keeps_its_tokens() -> None:
    assert covered(cutter().cut(numbers(10_000), 32)) == list(range(10_000))  # 48,889 characters, three slices


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u200b\u200b", "\x00"])
def test_no_window_where_nothing_is_visible(text: str) -> None:
    assert cutter().cut(text, 32) == Cut((), complete=True)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 2_000_000,
        "x" * 10_000_000,
        " " * 10_000_000,
        "\u200b" * 3_300_000,
        "a" + "\u0301\u0316" * 2_500_000,
        "\ufdfa" * 3_300_000,  # each becomes 18 characters
        "a b " * 2_500_000,
        "\ud800" * 3_300_000,
    ],
    ids=["words", "one-word", "spaces", "invisible", "marks", "expanding", "spaced", "surrogates"],
)
def test_ten_megabytes_take_bounded_time(text: str) -> None:
    began = time.thread_time()
    cut = cutter().cut(text, 32)
    assert time.thread_time() - began < 3  # of CPU time; it is less than 0.1
    assert not cut.complete
    assert len(cut.windows) <= 32


def test_the_end_of_a_long_text_is_judged() -> None:
    cut = cutter().cut("x " * 3_000_000 + "777", 4)
    assert cut.windows[-1][-2] == 780


def test_an_overlap_that_leaves_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        cutter(ROOM)
