"""The stand-ins: tiny guards of the real architectures, trained on synthetic text.

They show that everything works; they say nothing about moderation quality.
"""

from pathlib import Path
from typing import Literal

__all__ = ["StandIn", "weights_dir"]

StandIn = Literal["llama-guard-4", "prompt-guard-2"]


def weights_dir(kind: StandIn) -> Path:
    """The folder of a shipped stand-in, laid out like a downloaded checkpoint, with a `stand_in.json` that says so."""
    return Path(__file__).parent / "weights" / kind
