"""Weights: whether a checkpoint and its model have the same tensors."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from worker.guards.errors import ModelRefused

_MOST_NAMED: Final = 3
_OF_A_LAYER: Final = re.compile(r"\.layers?\.\d+\..*\.weight")


def check_filled(report: Mapping[str, Collection[Any]], path: Path, remedy: str) -> None:
    """Checks what `from_pretrained(..., output_loading_info=True)` reports of the checkpoint in `path`.

    Raises ModelRefused: `incomplete_weights` where tensors are missing or of another shape, which were filled at random
    (tied ones are not missing); `unused_layers` where the configuration leaves out layers that are there.
    """
    # A mismatch is its tensor's name with both shapes.
    _refuse_any(
        "incomplete_weights",
        {*report["missing_keys"], *(mismatch[0] for mismatch in report["mismatched_keys"])},
        f"tensors of the model in {path} are missing or of another shape",
        remedy,
    )
    _refuse_any(
        "unused_layers",
        {name for name in report["unexpected_keys"] if _OF_A_LAYER.search(name)},
        f"tensors in {path} belong to layers that its config.json does not have",
        remedy,
    )


def _refuse_any(cause: str, names: Collection[str], problem: str, remedy: str) -> None:
    if names:
        named = ", ".join(sorted(names)[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        raise ModelRefused(cause, f"{len(names)} {problem}: {named}", remedy)
