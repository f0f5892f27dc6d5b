"""The device's memory, asked when somebody scrapes: it costs nothing otherwise."""

import sys
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class DeviceMemory(Collector):
    """torch's memory on the CUDA devices that this process uses; no series without one."""

    kind = "gauge"
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
        torch = sys.modules.get("torch")  # by name: neither this file nor its tests need torch
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            reserved = {device: torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count())}
            used = [device for device, amount in reserved.items() if amount]
            family.add_metric(["allocated"], sum(map(torch.cuda.memory_allocated, used)))
            family.add_metric(["reserved"], sum(reserved.values()))
            family.add_metric(["total"], sum(torch.cuda.get_device_properties(each).total_memory for each in used))
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labelnames)
