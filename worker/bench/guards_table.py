"""The guards' benchmark as tables for people."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from worker.bench.guards import GuardsResult


def one_table(result: GuardsResult) -> Group:
    """Every way to judge, a row each, and what the ratios are bound by."""
    table = Table("", "messages/s", "engine is", "latency", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row(
        "snippet as written (10 new tokens)",
        f"{result.rate_as_written:.2f}",
        f"{result.ratio_as_written:.2f} x",
        _ms(1 / result.rate_as_written),
    )
    table.add_row(
        "snippet, stops after its verdict",
        f"{result.rate_snippet:.2f}",
        f"{result.ratio_snippet:.2f} x",
        _ms(result.latency_snippet),
    )
    table.add_row(
        "padded batches, stop after the verdict", f"{result.rate_padded:.2f}", f"{result.ratio_padded:.2f} x", ""
    )
    table.add_row("engine", f"{result.rate_engine:.2f}", "", f"{_ms(result.latency_engine_batch)} a batch")
    lines = (
        f"Bound of the ratio to the snippet by token counts: {result.ratio_bound:.2f} x. "
        f"Useful tokens run at {result.matmul_share:.0%} of the measured matmul rate "
        f"({result.matmul_flops_per_second / 1e12:.3g} TFLOP/s).",
        f"Engine: {_ms(result.latency_engine_alone)} for one message alone; a batch p95 "
        f"{_ms(result.latency_engine_batch_p95)}; {result.padding:.1%} of a batch's cost is filling.",
        f"Answers of the release and the engine: {result.answers_different} of {result.answers_compared} differ.",
    )
    return Group(table, *lines)


def suite_table(results: Sequence[GuardsResult]) -> Table:
    """A row a workload."""
    table = Table("lengths", "policies", "images", "engine/s", "to snippet", "bound", "to padded", box=None)
    for name in ("matmul", "filling", "alone", "differ"):
        table.add_column(name, justify="right")
    for result in results:
        work = result.workload
        table.add_row(
            work.lengths,
            str(work.policies),
            f"{work.images:.0%}",
            f"{result.rate_engine:.1f}",
            f"{result.ratio_snippet:.2f} x",
            f"{result.ratio_bound:.2f} x",
            f"{result.ratio_padded:.2f} x",
            f"{result.matmul_share:.0%}",
            f"{result.padding:.1%}",
            _ms(result.latency_engine_alone),
            f"{result.answers_different}/{result.answers_compared}",
        )
    return table


def about_line(about: dict[str, Any]) -> str:
    """What was measured on what, in a line."""
    return (
        f"{about['date']}, {about['device']}, {about['dtype']}, {about['parameters'] / 1e6:,.0f} M random parameters, "
        f"batches of {about['batch_tokens']} tokens, torch {about['torch']}, transformers {about['transformers']}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
