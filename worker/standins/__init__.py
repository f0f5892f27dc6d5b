"""The stand-ins: tiny guards of the real architectures, trained on synthetic text.

They show that everything works; they say nothing about moderation quality.
"""

from pathlib import Path
from typing import Literal

StandIn = Literal["llama-guard-4", "prompt-guard-2"]

ABOUT = "stand_in.json"
"""The file by which a checkpoint's folder says that it holds a stand-in, and how long a text that judges well."""


def weights_dir(kind: StandIn) -> Path:
    """The folder of a shipped stand-in, laid out like a downloaded checkpoint, with the file ABOUT in it."""
    return Path(__file__).parent / "weights" / kind
