"""The benchmark of the metrics makes an event's writes."""

from prometheus_client import REGISTRY

from worker.bench.metrics_cost import metrics_cost


def value(name: str, labels: dict[str, str]) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_an_event_is_counted_in_every_way() -> None:
    counted = [
        ("moderation_end_to_end_seconds_count", {}),
        ("moderation_verdicts_total", {"label": "safe"}),
        ("moderation_tenant_verdicts_total", {"tenant": "tenant-25", "label": "unsafe"}),
        ("moderation_violations_total", {"category": "S9"}),
        ("moderation_verdict_cache_lookups_total", {"result": "miss"}),
        ("moderation_batch_wait_seconds_count", {"guard": "llama_guard"}),
        ("moderation_device_busy_seconds_total", {}),
        *(("moderation_stage_seconds_count", {"stage": stage}) for stage in ("queue", "prepare", "guard", "publish")),
    ]
    before = [value(*each) for each in counted]
    assert 0 < metrics_cost(rounds=1) < 0.1, "seconds of one event"
    assert all(value(*each) > was for each, was in zip(counted, before, strict=True))
