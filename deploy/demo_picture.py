"""`python -m deploy.demo_picture`: runs the demo and draws what it said as docs/images/demo.svg."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from worker.local.demo import DemoOptions, run_demo

PICTURE = Path(__file__).parents[1] / "docs/images/demo.svg"
_WIDTH = 112
_SHOWN_OF_AN_EXAMPLE = 12  # lines; a whole verdict has some fifty


def main() -> None:
    """Takes as long as the demo. Raises what it raises."""
    said = Console(record=True, width=_WIDTH, file=io.StringIO(), color_system="truecolor", highlight=False)
    if not run_demo(DemoOptions(None, keep=False, seed=0), said):
        raise SystemExit("the demo's sum does not hold: no picture of that")
    picture = Console(record=True, width=_WIDTH, file=io.StringIO())
    picture.print("[bold]$ make demo[/bold]")
    for line in shortened(said.export_text(styles=True)):
        picture.print(Text.from_ansi(line), soft_wrap=True)
    PICTURE.write_text(_without_fonts(picture.export_svg(title="make demo", unique_id="demo")), encoding="utf-8")
    print(f"wrote {PICTURE}")


def shortened(said: str) -> Iterator[str]:
    """The lines without the middle of the progress, without all but the first example, and without most of that."""
    examples = in_example = 0
    progress: list[str] = []
    for line in said.splitlines():
        plain = Text.from_ansi(line).plain
        if re.match(r"\d+ of \d+ answered", plain):
            progress.append(line)
            continue
        yield from progress[-1:]
        progress.clear()
        if plain.startswith("example:"):
            examples, in_example = examples + 1, 1
        elif in_example and re.match(r"\d+ in ", plain):
            in_example = 0
        elif in_example:
            in_example += 1
        if not in_example or (examples == 1 and in_example <= _SHOWN_OF_AN_EXAMPLE):
            yield line
        elif examples == 1 and in_example == _SHOWN_OF_AN_EXAMPLE + 1:
            yield "  …"
            yield ""


def _without_fonts(svg: str) -> str:
    """With the viewer's own fixed-width font: a picture asks nobody for anything."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    return re.sub(r"font-family:\s*[^;]*;", "font-family: ui-monospace, Menlo, Consolas, monospace;", svg)


if __name__ == "__main__":
    main()
