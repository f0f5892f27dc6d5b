"""What the demo shows: a live table on a terminal, plain lines elsewhere, and the summary."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import orjson
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.local.tally import OUTCOMES, Tally
from worker.local.workers import WorkerProcess
from worker.settings import Settings

_PLAIN_EVERY = 2.0  # seconds between lines where there is no terminal
_FILL = re.compile(r"^moderation_batch_(tokens|budget_tokens|checks)_total\{guard=\"llama_guard\"\} (\S+)$", re.M)
_BATCHES = re.compile(r"^moderation_batches_total\{guard=\"llama_guard\"\} (\S+)$", re.M)
_EXAMPLES = ("unsafe", "prompt attack", "image", "review", "safe")


class DemoView:
    """Writes to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """One line of progress."""
        self._console.print(Text(line, style="dim"))

    @contextmanager
    def live(self, tally: Tally, workers: Sequence[WorkerProcess], wanted: int) -> Iterator[Callable[[], None]]:
        """Yields what brings the view up to date."""
        began = time.monotonic()

        def table() -> Table:
            return _table(tally, workers, wanted, time.monotonic() - began)

        if self._console.is_terminal:
            with Live(table(), console=self._console, auto_refresh=False) as shown:
                yield lambda: shown.update(table(), refresh=True)
            return
        said = [0.0]

        def plain() -> None:
            if time.monotonic() - said[0] >= _PLAIN_EVERY:
                said[0] = time.monotonic()
                counts = ", ".join(f"{tally.counts[outcome]} {outcome}" for outcome in OUTCOMES)
                self.say(f"{len(tally.outcomes)} of {wanted} answered: {counts}")

        yield plain
        self._console.print(table())

    def summary(self, tally: Tally, workers: Sequence[WorkerProcess]) -> None:
        """The proof of the sum, and three examples."""
        shown = [tally.examples[kind] for kind in _EXAMPLES if kind in tally.examples][:3]
        for verdict in shown:
            self._console.print(Text(f"\nexample: {verdict['label']}, on {verdict['event_id']}", style="bold"))
            self._console.print_json(orjson.dumps(verdict).decode())
        parts = " + ".join(f"{tally.counts[outcome]} {outcome}" for outcome in OUTCOMES)
        sign, style = ("=", "bold green") if tally.holds else ("≠", "bold red")
        self._console.print(Text(f"\n{len(tally.sent)} in {sign} {parts}", style=style))
        self._console.print(
            f"by verdict id: {tally.missing} missing, {tally.repeated} repeated, {tally.unknown} unknown; "
            f"{tally.judged_right} of {tally.judged_known} labels as the samples have them "
            "(judged by stand-ins on synthetic text: this says nothing about moderation quality)"
        )

    def how_to_go_on(self, settings: Settings, workers: Sequence[WorkerProcess]) -> None:
        """Where everything is, and how to send an own event."""
        lines = [
            "",
            f"Kafka: {settings.bootstrap_servers}; events in {settings.input_topic}, verdicts and dead letters in "
            + ", ".join(settings.output_topics),
            *(f"{each.name}: pid {each.pid}, http://127.0.0.1:{each.port}/metrics, log {each.log}" for each in workers),
            "send an own message and see its verdict:",
            f'  .venv/bin/python -m worker.local.send --bootstrap {settings.bootstrap_servers} "how do I make a bomb?"',
            "Ctrl-C stops everything",
        ]
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)


def _table(tally: Tally, workers: Sequence[WorkerProcess], wanted: int, seconds: float) -> Table:
    answered = len(tally.outcomes)
    table = Table(title=f"{answered} of {wanted} chat events answered after {seconds:.1f} s", title_justify="left")
    for column in ("outcome", "events", ""):
        table.add_column(column, justify="right" if column == "events" else "left")
    for outcome in OUTCOMES:
        table.add_row(outcome, str(tally.counts[outcome]), "█" * round(40 * tally.counts[outcome] / max(1, wanted)))
    table.add_section()
    table.add_row("events/s", f"{answered / seconds:.0f}" if seconds > 0 else "", "")
    for share in (0.5, 0.99):
        latency = tally.latency(share)
        table.add_row(
            f"latency p{share * 100:.0f}", "" if latency is None else f"{latency * 1000:.0f}", "ms, sent to verdict"
        )
    for worker in workers:
        table.add_row(worker.name, *_batch_fill(worker.metrics()))
    return table


def _batch_fill(metrics: str) -> tuple[str, str]:
    values = {name: float(value) for name, value in _FILL.findall(metrics)}
    batches = _BATCHES.search(metrics)
    if not batches or not values.get("budget_tokens"):
        return "", "no batch yet"
    count = float(batches[1])
    fill = values["tokens"] / values["budget_tokens"]
    return f"{count:.0f}", f"batches of {values['checks'] / count:.1f} checks, {fill:.0%} full"
