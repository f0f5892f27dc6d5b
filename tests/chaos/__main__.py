"""`python -m tests.chaos --seed 1` (make storm): the storm, then the graceful forms. Exit code 1 where a rule was
broken."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from tests.chaos.plan import GRACEFUL, HISTORY, STORM
from tests.chaos.storm import storm

FORMS = {"storm": STORM, "graceful": GRACEFUL, "history": HISTORY}


def main(
    seed: Annotated[int, typer.Option(help="Which storm: the same plan and events every time.")] = 1,
    events: Annotated[int, typer.Option(min=2000, help="Of the storm; the graceful forms have two fifths.")] = 100_000,
    form: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(FORMS)}; all by default.")] = None,
) -> None:
    """Kill, stop and join workers in the middle of their work, and settle the books."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of our own clients, while the broker is away
    folder = Path(tempfile.mkdtemp(prefix="moderation-storm-"))
    broken = []
    for name in form or FORMS:
        chosen, began = FORMS[name], time.monotonic()
        own = folder / name
        own.mkdir()

        def say(line: str, began: float = began) -> None:
            typer.echo(f"{time.monotonic() - began:6.1f} s  {line}", err=True)

        report = storm(chosen.scaled(chosen.events * events // STORM.events), seed, own, say)
        typer.echo(report)
        broken += [name] if report.violations else []
    if broken:
        again = f"make storm SEED={seed} EVENTS={events}"
        typer.echo(f"seed {seed}: rules were broken in: {', '.join(broken)}. Logs are in {folder}. Again: {again}")
        raise typer.Exit(1)
    typer.echo(f"seed {seed}: every rule held")


if __name__ == "__main__":
    typer.run(main)
