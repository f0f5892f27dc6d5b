"""Cards: what they are by their makers' data sheets, and what the engine makes of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from worker.planning.cost import Device

# Dense bf16 matrix multiplication by the data sheets, operations a second. Those with 40 GB and more hold the model.
DATA_SHEETS: Final[Mapping[str, float]] = {
    "h200": 989e12,
    "h100": 989e12,
    "a100-80gb": 312e12,
    "l40s": 362e12,
    "rtx-6000-ada": 364e12,
}
# Assumed until a card was measured: what large matrix multiplications reach of the data sheet's figure, and what the
# engine reaches of that (its goal, docs/benchmarks.md).
_MATMUL_SHARE: Final = 0.7
_ENGINE_SHARE: Final = 0.55


class CardUnknown(ValueError):
    """A card that nothing is known of; the message names the known ones."""


def assumed(card: str) -> Device:
    """A card by its data sheet. Raises CardUnknown."""
    if card not in DATA_SHEETS:
        raise CardUnknown(
            f"no card is named {card!r}: take one of {', '.join(DATA_SHEETS)}, or measure yours (--bench)"
        )
    return Device(f"{card}, assumed", DATA_SHEETS[card] * _MATMUL_SHARE * _ENGINE_SHARE)


def measured(path: Path) -> Device:
    """A card by what `bench guards --dims llama-guard-4 --json` printed on it. Raises ValueError."""
    try:
        found = orjson.loads(path.read_bytes())
        rate = float(found["matmul_flops_per_second"]) * float(found["matmul_share"])
        name = str(found["device"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no output of `bench guards --json`: {error!r}") from None
    return Device(f"{name}, measured", rate)
