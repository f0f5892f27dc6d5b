"""The device's memory, asked when somebody scrapes: it costs nothing otherwise."""

import sys
from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class DeviceMemory(Collector):
    """torch's memory on the CUDA devices that this process uses; no series without one."""

    labelnames = ("kind",)

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry = REGISTRY) -> None:
        self.name, self.documentation = name, documentation
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The family as it is now."""
        family = self._family()
        if (cuda := _cuda()) is not None:
            reserved = {device: cuda.memory_reserved(device) for device in range(cuda.device_count())}
            used = [device for device, amount in reserved.items() if amount]
            family.add_metric(["allocated"], sum(map(cuda.memory_allocated, used)))
            family.add_metric(["reserved"], sum(reserved.values()))
            family.add_metric(["total"], sum(cuda.get_device_properties(each).total_memory for each in used))
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labelnames)


def _cuda() -> Any:
    """torch.cuda where it is in use, else None. By name: neither this file nor its tests need torch."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # not there yet while a thread is importing torch
    return cuda if cuda is not None and cuda.is_available() and cuda.is_initialized() else None
