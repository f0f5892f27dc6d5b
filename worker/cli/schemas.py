"""`moderation-worker schemas`: the generated files of the contract."""

from pathlib import Path
from typing import Annotated

import typer

from worker.exit_codes import ExitCode


def schemas(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where a file differs from the code.")
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where schemas/ and docs/ are.")] = Path(),
) -> None:
    """Write schemas/, and docs/settings.md, metrics.md and asyncapi.md, or check that they are up to date."""
    from worker.contract.schemas import drifted, write_schemas
    from worker.policy.schema import policy_schemas
    from worker.reference.asyncapi import FILE, asyncapi
    from worker.reference.asyncapi_page import asyncapi_page
    from worker.reference.metrics_page import metrics_page
    from worker.reference.settings_page import settings_page

    docs = directory / "docs"
    pages = {
        docs / "settings.md": settings_page(),
        docs / "metrics.md": metrics_page(),
        docs / "asyncapi.md": asyncapi_page(),
        directory / "schemas" / FILE: asyncapi(),
    }
    outdated = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    if check:
        differing = [*drifted(directory / "schemas", policy_schemas()), *outdated]
        if differing:
            names = ", ".join(str(path) for path in differing)
            typer.echo(f"out of date: {names}; run `moderation-worker schemas`", err=True)
            raise typer.Exit(ExitCode.FAILED)
        return
    for path in write_schemas(directory / "schemas", policy_schemas()):
        typer.echo(f"wrote {path}")
    for page in outdated:
        page.parent.mkdir(exist_ok=True)
        page.write_text(pages[page], encoding="utf-8")
        typer.echo(f"wrote {page}")
