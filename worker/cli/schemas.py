"""`moderation-worker schemas`: the generated files of the contract."""

from pathlib import Path
from typing import Annotated

import typer


def schemas(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where a file differs from the code.")
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where schemas/ and docs/ are.")] = Path(),
) -> None:
    """Write schemas/*.schema.json and docs/settings.md, or check that they are up to date."""
    from worker.contract.schemas import drifted, write_schemas
    from worker.settings_page import settings_page

    schemas_in, page = directory / "schemas", directory / "docs" / "settings.md"
    page_drifted = not page.exists() or page.read_text(encoding="utf-8") != settings_page()
    if check:
        differing = drifted(schemas_in) + [page] * page_drifted
        if differing:
            names = ", ".join(str(path) for path in differing)
            typer.echo(f"out of date: {names}; run `moderation-worker schemas`", err=True)
            raise typer.Exit(1)
        return
    for path in write_schemas(schemas_in):
        typer.echo(f"wrote {path}")
    if page_drifted:
        page.parent.mkdir(exist_ok=True)
        page.write_text(settings_page(), encoding="utf-8")
        typer.echo(f"wrote {page}")
