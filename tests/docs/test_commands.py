"""Every command in the pages is classified, and none names a command, an option, a setting, a target or a file that
does not exist, also where nothing runs it."""

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests.docs.commands import REMEDY, SHELL, mark_of, shell_blocks, simple_commands, typed_in
from tests.docs.pages import ROOT, Block, Page, all_pages
from worker.cli.main import app
from worker.settings import Settings

PAGES = all_pages()
PROGRAM = "moderation-worker"
SETTINGS = {f"MODERATION_{name.upper()}" for name in Settings.model_fields} | {"MODERATION_CONFIG"}
OF_THE_TESTS = {"MODERATION_TEST_KAFKA"}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_every_command_is_run_or_says_with_what_it_was_tried(page: Page) -> None:
    faults = [fault for block in shell_blocks(page) for fault in _faults_of_mark(block)]
    assert not faults, "\n".join([*faults, REMEDY])


def _faults_of_mark(block: Block) -> Iterator[str]:
    try:
        mark = mark_of(block)
    except ValueError as fault:
        yield str(fault)
        return
    if mark.kind == "tested":
        named = re.findall(r"tests/[\w/.]+", mark.words)
        yield from (f"{block.place}: {path} does not exist" for path in named if not (ROOT / path).exists())
        if not named:
            yield f"{block.place}: no test is named"


@each_page
def test_commands_and_options_exist(page: Page) -> None:
    faults = []
    for block in page.blocks:
        for typed in typed_in(block) if block.language in SHELL else ():
            for words in simple_commands(typed.text):
                faults += [f"{typed.place}: {fault}" for fault in faults_of(words)]
    for span, line in page.spans:
        faults += [f"{page.name}:{line}: `{span}`: {fault}" for fault in faults_of_span(span)]
    assert not faults, "\n".join(faults)


def faults_of(words: list[str]) -> Iterator[str]:
    """What does not exist of what a command names. What the program itself refuses is a fault as well."""
    name, arguments = Path(words[0]).name, words[1:]
    if name == PROGRAM:
        yield from _refused(arguments)
    elif name == "make":
        yield from _faults_of_make(arguments)
    elif name.startswith("python") and arguments[:1] == ["-m"]:
        if find_spec(arguments[1]) is None:
            yield f"no module {arguments[1]}"
    elif name == "helm" and arguments[:1] in (["install"], ["upgrade"]):
        yield from (f"no chart in {path}" for path in arguments if "/" in path and not _chart(path))
    elif name == "docker" and "--profile" in arguments:
        profile = arguments[arguments.index("--profile") + 1]
        if all(profile not in service.get("profiles", ()) for service in COMPOSE["services"].values()):
            yield f"docker-compose.yml has no profile {profile}"


def _chart(path: str) -> bool:
    return (ROOT / path / "Chart.yaml").exists()


def _refused(arguments: list[str]) -> Iterator[str]:
    """By the program's own parser, which runs nothing here."""
    command: Any = typer.main.get_command(app)
    context, rest = None, arguments
    while True:
        try:
            context = command.make_context(PROGRAM, list(rest), parent=context)
            if not hasattr(command, "commands"):
                return
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        except typer.Exit:  # --help and --version
            return
        except Exception as refusal:
            if not hasattr(refusal, "format_message"):
                raise
            yield refusal.format_message()
            return


def _faults_of_make(arguments: list[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        variable, assigned, _ = word.partition("=")
        if assigned:
            if f"$({variable})" not in makefile:
                yield f"the Makefile has no variable {variable}"
        elif re.fullmatch(r"[\w-]+", word) and not re.search(rf"^{word}:", makefile, re.MULTILINE):
            yield f"the Makefile has no target {word}"


def faults_of_span(span: str) -> Iterator[str]:
    """In running text commands are cut short (`policies check | show`), so only their names are looked up."""
    words = span.split()
    if words[:1] == ["make"] and re.fullmatch(r"make [a-z -]+(?: [A-Z]+=.*)?", span):
        yield from _faults_of_make([word for word in words[1:] if re.match(r"[a-z-]+$|[A-Z]+=", word)])
    if not words or Path(words[0]).name != PROGRAM:
        return
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        if word.startswith("--"):
            known = {each for parameter in command.params for each in parameter.opts} | {"--help"}
            if word.partition("=")[0].rstrip(",;") not in known:
                yield f"no option {word}"
        elif commands := getattr(command, "commands", None):
            if not re.fullmatch(r"[a-z-]+", word):
                return
            if word not in commands:
                yield f"no command {word}"
                return
            command = commands[word]


@each_page
def test_settings_exist(page: Page) -> None:
    """`MODERATION_*_REVISION` and `MODERATION_SSL_…` are patterns, `MODERATION_<NAME>` is any."""
    named = {name.replace("…", "*") for name in re.findall(r"MODERATION_[A-Z0-9_*….]*", page.text)}
    patterns = {re.sub(r"\.+$", "", name).replace("...", "*") for name in named}
    missing = [
        name
        for name in patterns - OF_THE_TESTS
        if not fnmatch.filter(SETTINGS, f"{name}*" if name.endswith("_") else name)
    ]
    assert not missing, f"{page.name}: no setting is called {', '.join(sorted(missing))}"


@each_page
def test_metrics_exist(page: Page) -> None:
    known = set(re.findall(r"moderation_\w+", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    known |= {name + end for name in known for end in ("_bucket", "_count", "_sum", "_total", "_created")}
    named = set(re.findall(r"(?<![\w/.-])moderation_[a-z_]+(?![\w.])", "\n".join(span for span, _ in page.spans)))
    missing = [name for name in named if name not in known and name != "moderation_verdict"]
    assert not missing, f"{page.name}: docs/metrics.md has no {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("moderation-worker run --devices 0,1", None),
        ("A=b .venv/bin/moderation-worker policies check x.toml > y  # a remark's --remark", None),
        ("moderation-worker --help && moderation-worker nonsense", "No such command 'nonsense'"),
        ("for x in a b; do moderation-worker topics create --copies 3; done", "No such option: --copies"),
        ("cat x | moderation-worker plan --rate many", "Invalid value for '--rate'"),
        ("moderation-worker dead-letters show", "Missing argument"),
        ("cat > x <<'EOF'\nmoderation-worker nonsense\nEOF", None),
        ("make demo DEMO=--keep", None),
        ("make dinner", "no target dinner"),
        ("make demo MENU=1", "no variable MENU"),
        ("python -m worker.local.sned hello", "no module worker.local.sned"),
        ("helm install moderation helm/moderation", "no chart in helm/moderation"),
        ("docker compose --profile cpu up", "no profile cpu"),
    ],
)
def test_a_wrong_command_is_found(typed: str, fault: str | None) -> None:
    found = [each for words in simple_commands(typed) for each in faults_of(words)]
    assert [fault in each for each in found] == ([True] if fault else []), found


@pytest.mark.parametrize(
    ("span", "faulty"),
    [
        ("moderation-worker policies check | show | diff", False),
        ("moderation-worker dead-letters show PARTITION OFFSET", False),
        ("moderation-worker dead-letter list", True),
        ("moderation-worker evaluate ... --compare", False),
        ("moderation-worker evaluate --compere", True),
        ("make storm SEED=1", False),
        ("make strom", True),
    ],
)
def test_a_wrong_command_in_the_text_is_found(span: str, faulty: bool) -> None:
    assert bool(list(faults_of_span(span))) == faulty


@pytest.mark.parametrize(
    ("marks", "fault"),
    [
        (("run",), None),
        (("given\ntouch x", "run"), None),
        (("tried: 2026-11-22, helm 4.0.1",), None),
        (("tested: tests/docs/test_commands.py",), None),
        ((), "nothing says that these commands work"),
        (("a remark",), "nothing says that these commands work"),
        (("tried",), "says nothing"),
        (("run: some time",), "known is"),
        (("tested: tests/docs/test_nothing.py",), "does not exist"),
        (("tested: by hand",), "no test is named"),
    ],
)
def test_a_block_without_a_mark_is_found(marks: tuple[str, ...], fault: str | None) -> None:
    found = list(_faults_of_mark(Block(ROOT / "README.md", 7, "console", "$ true\n", marks)))
    assert [fault in each for each in found] == ([True] if fault else []), found
    assert all(each.startswith("README.md:7: ") for each in found)


def test_scripts_are_scripts() -> None:
    """bash reads every block; what a page shows as an answer is not read."""
    for page in PAGES:
        for block in shell_blocks(page):
            script = "\n".join(typed.text for typed in typed_in(block))
            read = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=60)
            assert read.returncode == 0, f"{block.place}: {read.stderr}"
