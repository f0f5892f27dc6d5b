"""docs/metrics.md, generated from the metrics' own sentences."""

from prometheus_client.metrics import MetricWrapperBase

from worker.observability import metrics
from worker.observability.device_memory import DeviceMemory
from worker.observability.light_metrics import LightCounter, LightGauge, LightHistogram

AnyMetric = MetricWrapperBase | LightCounter | LightGauge | LightHistogram | DeviceMemory

_HEAD = """\
# Metrics

`/metrics` on `MODERATION_WEB_PORT` in Prometheus' text format. Times are in seconds, sizes in bytes. Labels have few
values, whatever comes in.

This page is generated: `make schemas`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def all_metrics() -> list[AnyMetric]:
    """Every metric, in the order of their file."""
    return [each for each in vars(metrics).values() if isinstance(each, AnyMetric)]


def exposed_name(metric: AnyMetric) -> str:
    """The name that queries use; a histogram has `_bucket`, `_sum` and `_count` after it."""
    (family,) = metric.describe()
    return family.name + ("_total" if family.type == "counter" else "")


def metrics_page() -> str:
    """The page's text."""
    return _HEAD + "".join(map(_row, all_metrics()))


def _row(metric: AnyMetric) -> str:
    (family,) = metric.describe()
    names = metric._labelnames if isinstance(metric, MetricWrapperBase) else metric.labelnames
    labels = ", ".join(f"`{name}`" for name in names)
    return f"| `{exposed_name(metric)}` | {family.type} | {labels} | {family.documentation} |\n"
