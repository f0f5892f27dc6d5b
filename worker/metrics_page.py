"""docs/metrics.md, generated from the metrics' own sentences."""

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from worker.observability import metrics

_HEAD = """\
# Metrics

`/metrics` on `MODERATION_WEB_PORT` in Prometheus' text format. Times are in seconds, sizes in bytes. Labels have few
values, whatever comes in.

This page is generated: `make schemas`.

| metric | type | labels | meaning |
|---|---|---|---|
"""
_TYPES: dict[type[MetricWrapperBase], tuple[str, str]] = {
    Counter: ("counter", "_total"),
    Gauge: ("gauge", ""),
    Histogram: ("histogram", ""),
}


def all_metrics() -> list[MetricWrapperBase]:
    """Every metric, in the order of their file."""
    return [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]


def exposed_name(metric: MetricWrapperBase) -> str:
    """The name that queries use; a histogram has `_bucket`, `_sum` and `_count` after it."""
    return str(metric._name) + _TYPES[type(metric)][1]


def metrics_page() -> str:
    """The page's text."""
    return _HEAD + "".join(map(_row, all_metrics()))


def _row(metric: MetricWrapperBase) -> str:
    labels = ", ".join(f"`{name}`" for name in metric._labelnames)
    return f"| `{exposed_name(metric)}` | {_TYPES[type(metric)][0]} | {labels} | {metric._documentation} |\n"
