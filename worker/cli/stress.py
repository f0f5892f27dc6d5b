"""`moderation-worker stress`: events at a rate through workers that run already, and what became of each."""

import asyncio
import dataclasses
import itertools
import signal
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console

from worker.cli.context import settings_of
from worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from worker.local.stress_tally import StressReport, StressTally

_LINE_EVERY = 20  # looks, two a second, where the view cannot be live


def stress(
    context: typer.Context,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 100.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to send.")] = 30.0,
    keys: Annotated[int, typer.Option(min=1, help="Conversations that the events belong to.")] = 500,
    max_lost: Annotated[int, typer.Option(min=0, help="Fail where more events have no outcome in the end.")] = 0,
    max_duplicated: Annotated[int | None, typer.Option(min=0, help="Fail where more outcomes came twice.")] = None,
    max_p99_ms: Annotated[float | None, typer.Option(min=0, help="Fail where the 99th percentile is longer.")] = None,
    late_ms: Annotated[float, typer.Option(min=0, help="What counts as late.")] = 1000.0,
    wait: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for missing outcomes, while none comes in.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Seed of the events' texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """Send synthetic chat events at a rate to the input topic and watch the output topics for every outcome.

    Workers must be running on these topics; their verdicts go where they always go, so use topics of its own on a
    production cluster. Ctrl-C ends the run and reports what came until then. Exit code 1 where a threshold is not kept.

    Example: moderation-worker stress --rate 500 --seconds 60 --max-p99-ms 250 --max-lost 0
    """
    from worker.local.stress import Stress, StressOptions
    from worker.local.stress_tally import Thresholds

    run = Stress(settings_of(context), StressOptions(rate, seconds, keys, wait, late_ms / 1000, seed))
    console = Console(stderr=True)

    shown = itertools.count(1)

    def show() -> None:
        if console.is_terminal:
            status.update(_line(run.tally))
        elif next(shown) % _LINE_EVERY == 0:
            typer.echo(_line(run.tally), err=True)

    async def main() -> "StressReport":
        task = asyncio.create_task(run.run(show))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    with console.status("connecting") as status:
        report = asyncio.run(main())
    typer.echo(orjson.dumps(dataclasses.asdict(report)).decode() if as_json else _words(report))
    failures = report.failures(Thresholds(max_lost, max_duplicated, max_p99_ms))
    for failure in failures:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        raise typer.Exit(ExitCode.FAILED)


def _line(tally: "StressTally") -> str:
    """How it is going."""
    median = tally.recent_ms()
    latency = "" if median is None else f", p50 lately {median:.0f} ms"
    return f"{tally.sent_count:,} sent, {tally.missing:,} on their way, {tally.duplicated} twice{latency}"


def _words(report: "StressReport") -> str:
    """How it went."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.items()) or "none"
    latencies = " ".join(
        f"{name} {value:.0f} ms"
        for name, value in (
            ("p50", report.p50_ms),
            ("p95", report.p95_ms),
            ("p99", report.p99_ms),
            ("max", report.max_ms),
        )
        if value is not None
    )
    return (
        f"{report.sent:,} sent in {report.seconds:.1f} s, {report.answered:,} answered: {outcomes}. {report.lost} "
        f"without an outcome, {report.duplicated} duplicated, {report.late} late, {report.refused} refused by the "
        f"broker. {latencies}"
    )
