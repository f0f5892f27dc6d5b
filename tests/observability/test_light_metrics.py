"""The light metrics say what prometheus_client's own would."""

import random
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from worker.observability import metrics
from worker.observability.device_memory import DeviceMemory
from worker.observability.light_metrics import LightCounter, LightGauge, LightHistogram

BOUNDS = (0.005, 0.01, 0.1, 1, 10)


def exposition(registry: CollectorRegistry) -> list[str]:
    """What a scrape reads, without the times of birth, which nobody needs."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


def test_they_are_exposed_as_prometheus_clients_own() -> None:
    own, light = CollectorRegistry(), CollectorRegistry()
    counters = Counter("a", "A.", ["x", "y"], registry=own), LightCounter("a", "A.", ["x", "y"], light)
    gauge, follower = Gauge("b", "B.", registry=own), LightGauge("b", "B.", light)
    follower.follow(lambda: values[-1])
    histograms = (
        Histogram("c", "C.", ["x"], registry=own, buckets=BOUNDS),
        LightHistogram("c", "C.", ["x"], BOUNDS, light),
    )
    plain = Histogram("d", "D.", registry=own, buckets=BOUNDS), LightHistogram("d", "D.", [], BOUNDS, light).labels()
    rng = random.Random(1)
    values = [*BOUNDS, 0.0, 99.0, *(rng.expovariate(3) for _ in range(200))]
    for value in values:
        label = rng.choice(["one", 'with "quotes"\n'])
        for counter in counters:
            counter.labels(label, "z").inc(value)
        gauge.set(value)
        for histogram in histograms:
            histogram.labels(label).observe(value)
        for each in plain:
            each.observe(value)
    assert exposition(light) == exposition(own)
    assert len(exposition(light)) > 30


def test_a_name_is_given_once() -> None:
    registry = CollectorRegistry()
    LightCounter("a", "A.", [], registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("a", "A.", registry=registry)


def test_device_memory_is_asked_at_the_scrape_and_only_of_a_gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    DeviceMemory("memory_bytes", "M.", registry)
    in_use = False
    reserved, allocated = [0, 300], [0, 200]
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: in_use,
        device_count=lambda: 2,
        memory_reserved=lambda device: reserved[device],
        memory_allocated=lambda device: allocated[device],
        get_device_properties=lambda device: SimpleNamespace(total_memory=(111, 1000)[device]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert registry.get_sample_value("memory_bytes", {"kind": "total"}) is None
    in_use = True
    kinds = ("allocated", "reserved", "total")
    assert [registry.get_sample_value("memory_bytes", {"kind": kind}) for kind in kinds] == [200, 300, 1000]
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # it is being imported just now
    assert registry.get_sample_value("memory_bytes", {"kind": "total"}) is None
    monkeypatch.delitem(sys.modules, "torch")
    assert registry.get_sample_value("memory_bytes", {"kind": "total"}) is None


def test_a_scrape_is_whole_while_series_are_added(fast_switching: None) -> None:
    registry = CollectorRegistry()
    counter = LightCounter("a", "A.", ["x"], registry)
    histogram = LightHistogram("b", "B.", ["x"], BOUNDS, registry)
    ended = threading.Event()

    def write() -> None:
        for number in range(20_000):
            counter.labels(str(number)).inc()
            histogram.labels(str(number % 500)).observe(number % 7)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes, over = [], False
    while not over:
        over = ended.is_set()  # once more after that: there is a scrape however quick the writer was
        lines = exposition(registry)
        sizes.append(len(lines))
        assert all(line.startswith("#") or float(line.rpartition(" ")[2]) >= 0 for line in lines)
    writer.join()
    assert sizes == sorted(sizes) and sizes
    assert registry.get_sample_value("b_count", {"x": "7"}) == 40


@pytest.mark.parametrize("kind", [LightCounter, LightHistogram])
def test_no_other_thread_adds_a_series_while_they_are_listed(kind: type[LightCounter] | type[LightHistogram]) -> None:
    """Python lets one in where a garbage collection runs somebody's code in the middle of the list."""
    registry = CollectorRegistry()
    family = kind("a", "A.", ["x"], registry=registry, **({"buckets": BOUNDS} if kind is LightHistogram else {}))
    writer = threading.Thread(target=family.labels, args=("one more",))

    class Interrupted(dict[tuple[str, ...], Any]):
        def items(self) -> Any:
            for number, item in enumerate(super().items()):
                if number == 50 and writer.ident is None:
                    writer.start()
                    writer.join(0.1)  # it comes through at once, or it waits for the list's end
                yield item

    family._series = Interrupted()
    for number in range(100):
        family.labels(str(number))

    def listed() -> int:
        return len({sample.labels["x"] for each in family.collect() for sample in each.samples})

    assert listed() == 100
    writer.join()
    assert listed() == 101


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def test_what_is_written_with_every_event_is_light() -> None:
    often = (
        metrics.VERDICTS,
        metrics.TENANT_VERDICTS,
        metrics.STAGE,
        metrics.END_TO_END,
        metrics.IN_FLIGHT_BYTES,
        metrics.IN_FLIGHT_EVENTS,
        metrics.VERDICT_CACHE_LOOKUPS,
        metrics.VERDICT_CACHE_BYTES,
    )
    assert all(isinstance(each, LightCounter | LightGauge | LightHistogram) for each in often)
