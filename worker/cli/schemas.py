"""`moderation-worker schemas`: the JSON Schemas of the contract."""

from pathlib import Path
from typing import Annotated

import typer


def schemas(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where a file differs from the code.")
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where the schemas are.")] = Path("schemas"),
) -> None:
    """Write the JSON Schemas of chat events, verdicts and headers, or check that they are up to date."""
    from worker.contract.schemas import drifted, write_schemas

    if not check:
        for path in write_schemas(directory):
            typer.echo(f"wrote {path}")
        return
    if differing := drifted(directory):
        names = ", ".join(str(path) for path in differing)
        typer.echo(f"out of date: {names}; run `moderation-worker schemas`", err=True)
        raise typer.Exit(1)
