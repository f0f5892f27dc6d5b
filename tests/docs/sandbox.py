"""Runs a page's commands in its order, as a new user types them: one folder, one shell's variables, real programs."""

import logging
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.docs.commands import SHELL, Typed, given, mark_of, typed_in
from tests.docs.pages import ROOT, Page

log = logging.getLogger(__name__)

SECONDS = 600  # for one command: only a hanging one takes so long
_STATE = ".docs-check"
_DEFAULT_WEB = "127.0.0.1:6066"


class Sandbox:
    """A folder in which a page is followed. `.venv` is the tree's own; a worker's page is on a free port."""

    def __init__(self, folder: Path, web_port: int) -> None:
        # A script's background job, as whoever runs the tests may be, ignores Ctrl-C, and all that it starts with it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.folder = folder
        self._web = f"127.0.0.1:{web_port}"
        self._beside: list[tuple[Typed, subprocess.Popen[bytes]]] = []
        (folder / _STATE).mkdir()
        (folder / _STATE / "variables").touch()
        (folder / ".venv").symlink_to(ROOT / ".venv")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
        self._environment = kept | {
            "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
            "MODERATION_WEB_PORT": str(web_port),
            "MODERATION_JOURNAL_DIR": str(folder / _STATE / "journal"),
            "COLUMNS": "120",
        }

    def follow(self, page: Page) -> Iterator[str]:
        """Does what a page says; yields what went otherwise, a text a fault, and then goes no further."""
        for block in page.blocks:
            if before := given(block):
                self._shell(before, check=True)
            for name in _file_names(block.marks):
                (self.folder / name).write_text(block.text, encoding="utf-8")
            commands = list(typed_in(block)) if block.language in SHELL else []
            if not commands or mark_of(block).kind != "run":
                continue
            until = mark_of(block).until
            for typed in commands:
                began = time.monotonic()
                fault = self._start(typed, until) if until else self._run(typed)
                log.info("%6.1f s  %s: %s", time.monotonic() - began, typed.place, typed.text)  # --log-cli-level=INFO
                if fault:
                    yield f"{typed.place}: {typed.text}\n{fault}"
                    return

    def _run(self, typed: Typed) -> str | None:
        answer = self._shell(typed.text)
        said = answer.stdout + answer.stderr
        if answer.returncode != typed.code:
            return f"exit code {answer.returncode} instead of {typed.code}:\n{said[-4000:]}"
        if typed.shown.strip() and not alike(typed.shown, answer.stdout + answer.stderr):
            return f"the page shows\n{typed.shown}\nand it says\n{said[-4000:]}"
        return None

    def _shell(self, text: str, *, check: bool = False) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", self._script(text)],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=check,
        )

    def _script(self, text: str) -> str:
        """The command between what restores and what keeps a shell's variables."""
        variables = self.folder / _STATE / "variables"
        text = text.replace(_DEFAULT_WEB, self._web)
        return f". {variables}\n{text}\n_code=$?; export -p > {variables}; exit $_code\n"

    def _start(self, typed: Typed, until: str) -> str | None:
        """A command of another terminal, which goes on while the next ones run."""
        until = until.replace(_DEFAULT_WEB, self._web)
        log = self.folder / _STATE / f"{typed.line}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f". {self.folder / _STATE / 'variables'}\nexec {typed.text}"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + SECONDS
        while not self._is_there(until):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                return f"{until} never came; exit code {process.poll()}:\n{log.read_text(errors='replace')[-4000:]}"
            time.sleep(0.2)  # another process: there is no event to wait for
        self._beside.append((typed, process))
        return None

    def _is_there(self, what: str) -> bool:
        if not what.startswith("http"):
            path = self.folder / what
            return path.exists() and path.stat().st_size > 0
        try:
            with urllib.request.urlopen(what, timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> Iterator[str]:
        """Ctrl-C in the other terminals, the last one first. Yields what did not end well."""
        for typed, process in reversed(self._beside):
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code != 0:
                yield f"{typed.place}: {typed.text}\nended with {code} at Ctrl-C"
        self._beside.clear()


def _file_names(marks: tuple[str, ...]) -> Iterator[str]:
    """`<!-- file: NAME -->`: readers save the block under that name."""
    return (words.partition(":")[2].strip() for words in marks if words.startswith("file:"))


def alike(shown: str, said: str) -> bool:
    """Whether a program said what the page shows; `...` stands for anything, in a line or for lines. Blanks at
    the ends of lines do not count."""
    shown, said = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (shown, said))
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, said, re.DOTALL) is not None
