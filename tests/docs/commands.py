"""The commands in a page's blocks: what is typed, what is shown for an answer, and what becomes of it in the check."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import ROOT, Block, Page

SHELL = {"console", "sh", "shell", "bash"}
KINDS = ("run", "tried", "tested", "not tried")
REMEDY = """Put one of these on the line before the block (CONTRIBUTING.md, Documentation):
  <!-- run -->                           make docs-check runs it
  <!-- tried: DATE, PROGRAM VERSION -->  somebody did, by hand
  <!-- tested: tests/... -->             these tests do the same
  <!-- not tried: WHY -->                nobody could"""
_KEYWORDS = {"if", "while", "do", "then", "else", "{", "(", "!", "time", "done", "fi", "}", ")"}
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_CODE = re.compile(r"exit code (\d+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What is said of a block: `run`, `tried: helm 4.0.1`, `run: beside until kafka.address`."""

    kind: str
    words: str = ""

    @property
    def until(self) -> str | None:
        """For a command that runs beside those after it: the file or address that shows that it is there."""
        found = re.fullmatch(r"beside until (\S+)", self.words)
        return found[1] if found and self.kind == "run" else None


@dataclass(frozen=True, slots=True)
class Typed:
    """One command as it is typed, with what the page shows of its answer ("": nothing)."""

    block: Block
    line: int
    text: str
    shown: str = ""

    @property
    def place(self) -> str:
        """File and line, as editors take them."""
        return f"{self.block.page.relative_to(ROOT)}:{self.line}"

    @property
    def code(self) -> int:
        """The exit code that it should end with, by its own comment: `# exit code 1`."""
        comment = self.text.rpartition(" # ")[2] if " # " in self.text else ""
        found = _CODE.search(comment)
        return int(found[1]) if found else 0


def shell_blocks(page: Page) -> Iterator[Block]:
    """A page's blocks with commands in them."""
    return (block for block in page.blocks if block.language in SHELL and list(typed_in(block)))


def mark_of(block: Block) -> Mark:
    """Its mark. Raises ValueError, with what to do, where it has none or several, or an unknown one."""
    marks = []
    for words in block.marks:
        kind, _, rest = words.partition(":")
        if kind.strip() in KINDS:
            marks.append(Mark(kind.strip(), rest.strip()))
    if len(marks) != 1:
        fault = "nothing says that these commands work" if not marks else "two marks on one block"
        raise ValueError(f"{block.place}: {fault}")
    (mark,) = marks
    if mark.kind != "run" and not mark.words:
        raise ValueError(
            f"{block.place}: `{mark.kind}` says nothing: name what it was tried with, the tests, or why not"
        )
    if mark.kind == "run" and mark.words and mark.until is None:
        raise ValueError(f"{block.place}: `run: {mark.words}`; known is `run: beside until FILE-OR-ADDRESS`")
    return mark


def given(block: Block) -> str | None:
    """What the check does before a block and readers do not see: `<!-- given ... -->`."""
    found = [words.removeprefix("given").strip() for words in block.marks if words.startswith("given")]
    return "\n".join(found) or None


def typed_in(block: Block) -> Iterator[Typed]:
    """A console block's commands one by one; a script as a whole, if it does more than set variables."""
    if block.language != "console":
        if any(True for _ in simple_commands(block.text)):
            yield Typed(block, block.line, block.text)
        return
    at, command, shown = 0, None, list[str]()
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            if command is not None:
                yield Typed(block, at, command, "\n".join(shown))
            at, command, shown = number, line[2:], []
        elif command is not None and (command.endswith("\\") or line.startswith("> ")) and not shown:
            command += "\n" + line.removeprefix("> ")
        else:
            shown.append(line)
    if command is not None:
        yield Typed(block, at, command, "\n".join(shown))


def simple_commands(script: str) -> Iterator[list[str]]:
    """The words of each simple command in a script, without assignments before it, redirections and keywords. Here
    documents are passed over."""
    script = re.sub(r"<<-?\s*'?(\w+)'?([^\n]*)\n.*?\n\1(?=\n|$)", r"\2", script + "\n", flags=re.DOTALL)
    words = shlex.shlex(_without_comments(script.replace("\\\n", " ")), posix=True, punctuation_chars="();<>|&\n")
    words.whitespace = " \t\r"
    words.whitespace_split = True
    words.commenters = ""
    yield from _split(list(words))


def _without_comments(script: str) -> str:
    """An apostrophe in a remark is no quotation mark."""
    parts = re.findall(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|(?:(?<=\s)|^)#[^\n]*|.", script, flags=re.DOTALL | re.MULTILINE)
    return "".join(part for part in parts if not part.startswith("#"))


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skip = False
    for word in [*words, ";"]:
        if skip:
            skip = False
        elif set(word) <= set(";&|()\n") or (word in _KEYWORDS and not command):
            if command and command[0] not in ("for", "in"):
                yield command
            command = []
        elif set(word) <= set("<>&"):
            skip = True
            if command and command[-1].isdigit():
                command.pop()
        elif command or not (_ASSIGNMENT.match(word) or word == "export"):
            command.append(word)
