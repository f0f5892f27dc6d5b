"""`moderation-worker evaluate --from-reviews`: labelled data from what reviewers have decided."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from worker.evaluation.reviewed import Joined
    from worker.settings import Settings

FILE = "reviews.jsonl"

FromReviewsOption = Annotated[
    bool,
    typer.Option("--from-reviews", help="Take reviewers' decisions from Kafka, joined with the events of verdicts."),
]
OnlyWriteOption = Annotated[
    bool, typer.Option("--only-write-reviews", help="Write them to reviews.jsonl, and judge nothing.")
]


def written_reviews(settings: "Settings", output: Path) -> Path:
    """The file with the labelled data. Exits with 1 where there is no reviewed verdict with its event. Raises
    SettingsError and KafkaNotReady."""
    from aiokafka.errors import KafkaError

    from worker.evaluation.reviewed import join_reviews
    from worker.stream.reviews.reader import review_values, verdict_values

    path = output / FILE
    try:
        output.mkdir(parents=True, exist_ok=True)
        joined = asyncio.run(join_reviews(review_values(settings), verdict_values(settings), path))
    except (KafkaError, TimeoutError) as error:
        typer.echo(f"cannot read from {settings.bootstrap_servers}: {error or 'no answer in time'}", err=True)
        raise typer.Exit(ExitCode.CONFIG) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None
    _say(joined, path)
    if not joined.rows:
        raise typer.Exit(ExitCode.FAILED)
    return path


def _say(joined: "Joined", path: Path) -> None:
    typer.echo(f"{joined.rows} reviewed verdicts of {joined.reviews} are in {path}", err=True)
    if joined.without_event:
        remedy = "MODERATION_EVENT_IN_REVIEW_VERDICTS=true puts it into new ones"
        typer.echo(f"left out: {len(joined.without_event)}, whose verdict does not carry its event; {remedy}", err=True)
    if joined.without_verdict:
        why = "it was labelled safe or unsafe, or is gone"
        typer.echo(f"left out: {joined.without_verdict}, whose verdict is not on the review topic ({why})", err=True)
    if joined.unreadable:
        typer.echo(f"left out: {joined.unreadable} records that are no reviews", err=True)
