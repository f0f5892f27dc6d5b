"""docs/architecture.md's table of floors says what `make lint` checks in the imports."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"(?:^| · )`(\w+)`")


def _floors_of_the_page() -> list[set[str]]:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2].strip() for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    return [set(NAME.findall(row)) for row in rows]


def _floors_of_the_linter() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    return [{name.removeprefix("worker.") for name in layer.split(" : ")} for layer in layers]


def test_the_page_has_the_floors_that_the_linter_checks() -> None:
    assert _floors_of_the_page() == _floors_of_the_linter()


def test_every_room_has_a_floor() -> None:
    rooms = {path.parent.name for path in (ROOT / "worker").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "worker").glob("*.py")} - {"__init__", "__main__"}
    assert rooms | modules == set().union(*_floors_of_the_page())
