"""The pages' commands are run, in their order, and answer as the pages show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import mark_of, shell_blocks
from tests.docs.pages import Page, all_pages, read_page
from tests.docs.sandbox import Sandbox, alike
from worker.local.ports import free_ports


def _pages_to_follow() -> Iterator[Page]:
    for page in all_pages():
        blocks = [block for block in shell_blocks(page) if any(words.startswith("run") for words in block.marks)]
        if any(mark_of(block).kind == "run" for block in blocks):
            yield page


@pytest.mark.docs
@pytest.mark.kafka  # a page starts one
@pytest.mark.parametrize("page", list(_pages_to_follow()), ids=lambda page: page.name)
def test_what_a_page_says_works(page: Page, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, *free_ports(1))
    try:
        faults = list(sandbox.follow(page))
    finally:
        ended = list(sandbox.stop())
    assert not faults + ended, "\n\n".join(faults + ended)


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("a\nb", "a  \nb\n", True),
        ("a\n...", "a\nb\nc\n", True),
        ("P 0.99... of c", "P 0.9912 of c\n", True),
        ("a", "a\nb", False),
        ("a (b)", "a b", False),
        ("...", "", True),
    ],
)
def test_dots_stand_for_anything(shown: str, said: str, same: bool) -> None:
    assert alike(shown, said) == same


def _faults(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    page = read_page(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    sandbox = Sandbox(folder, 1)
    try:
        return [*sandbox.follow(page)]
    finally:
        assert list(sandbox.stop()) == []


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Places are told below this folder."""
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    return tmp_path


STORY = """
<!-- file: names.txt -->
```text
ann
```

<!-- run -->
```console
$ export GREETING=hello
$ echo "$GREETING $(cat names.txt)" | tee greeting
hello ann
$ false  # exit code 1
```

<!-- run: beside until there -->
```console
$ python -c 'import signal, pathlib; pathlib.Path("there").write_text("x"); signal.sigwait([signal.SIGINT])'
```

<!-- given
echo hidden > hidden
-->
<!-- run -->
```sh
read -r said < hidden
test "$said" = hidden
```
"""


def test_a_page_is_followed_in_one_shell(anywhere: Path) -> None:
    assert _faults(STORY, anywhere) == []


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("hello ann\n", "hello bob\n", "page.md:10: echo"),
        ("false  # exit code 1", "false", "exit code 1 instead of 0"),
        ("echo hidden > hidden", "echo other > hidden", "page.md:25: read"),
        ('Path("there")', 'Path("elsewhere")', ""),
    ],
)
def test_what_goes_otherwise_is_told_with_its_place(good: str, bad: str, told: str, anywhere: Path) -> None:
    story = STORY.replace(good, bad)
    if not told:  # a process that ends before it is there
        story, told = (
            story.replace("signal.sigwait([signal.SIGINT])", "raise SystemExit(3)"),
            "there never came; exit code 3",
        )
    (fault,) = _faults(story, anywhere)
    assert told in fault
