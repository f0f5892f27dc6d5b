"""What batches really took on a worker's device, by the worker's own metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_BATCHES: Final = "moderation_batches_total"
_SECONDS: Final = "moderation_batch_seconds_total"
_CHECKS: Final = "moderation_batch_checks_total"
_HANDOVER: Final = "moderation_device_handover_seconds_total"


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """Means, in seconds."""

    batch: Mapping[str, float]  # by guard: a batch besides its checks
    handover: float  # from one batch to the next that is there

    @classmethod
    def between(cls, before: str, after: str, check_seconds: Mapping[str, float]) -> "DeviceCost":
        """Of what happened between two pages of /metrics, where a check is known to take so much, by guard. Raises
        ValueError where a guard had no batch."""
        first, last = _counts(before), _counts(after)

        def more(name: str, guard: str = "") -> float:
            return last.get((name, guard), 0.0) - first.get((name, guard), 0.0)

        batches = {guard: more(_BATCHES, guard) for guard in check_seconds}
        if missing := [guard for guard, count in batches.items() if not count]:
            raise ValueError(f"no batch of {', '.join(missing)} was judged")
        return cls(
            {
                guard: (more(_SECONDS, guard) - seconds * more(_CHECKS, guard)) / batches[guard]
                for guard, seconds in check_seconds.items()
            },
            more(_HANDOVER) / sum(batches.values()),
        )

    @classmethod
    def mean(cls, costs: Sequence["DeviceCost"]) -> "DeviceCost":
        """Of several turns."""
        guards = costs[0].batch
        return cls(
            {guard: sum(each.batch[guard] for each in costs) / len(costs) for guard in guards},
            sum(each.handover for each in costs) / len(costs),
        )


def _counts(page: str) -> dict[tuple[str, str], float]:
    """Value by metric and guard."""
    return {
        (sample.name, sample.labels.get("guard", "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in (_BATCHES, _SECONDS, _CHECKS, _HANDOVER)
    }
