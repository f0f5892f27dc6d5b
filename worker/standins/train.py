"""Trains the shipped stand-ins: `python -m worker.standins.train`, about 25 minutes on one core, repeatable."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from worker.standins import ABOUT, StandIn, weights_dir
from worker.standins.train_guard import LEARN, POLISH, train_guard
from worker.standins.train_prompt_guard import PromptGuardSettings, train_prompt_guard

NOTE = "Synthetic stand-in: says nothing about moderation quality"
# The longest message text, in tokens, that each stand-in judges well in one piece; longer texts are cut into windows.
WINDOW_TOKENS: dict[StandIn, int] = {"llama-guard-4": 192, "prompt-guard-2": 512}


def train(kind: StandIn, out: Path, seed: int, steps: int | None = None) -> None:
    """Trains one stand-in into the folder `out`; `steps` overrides the length of the main stage."""
    out.mkdir(parents=True, exist_ok=True)
    if kind == "llama-guard-4":
        learn, polish = LEARN, POLISH
        if steps is not None:
            learn = replace(LEARN, tag_steps=min(LEARN.tag_steps, steps), answer_steps=steps)
            polish = replace(POLISH, answer_steps=steps // 5)
        train_guard(out, seed, learn, polish)
    else:
        train_prompt_guard(out, seed, PromptGuardSettings() if steps is None else PromptGuardSettings(steps=steps))
    _forget_paths(out)
    for file in out.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone
    about = {"name": f"stand-in {kind}", "seed": seed, "note": NOTE, "window_tokens": WINDOW_TOKENS[kind]}
    (out / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    print(f"{out}: {sum(file.stat().st_size for file in out.iterdir()):,} bytes")


def _forget_paths(folder: Path) -> None:
    """Removes from every JSON file of a checkpoint what names a path of this machine."""
    for file in folder.glob("*.json"):
        content = json.loads(file.read_text())
        if isinstance(content, dict) and content.keys() & {"_name_or_path", "name_or_path"}:
            kept = {key: value for key, value in content.items() if key not in ("_name_or_path", "name_or_path")}
            file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="parent folder of the weights (default: the shipped weights)")
    parser.add_argument("--only", choices=get_args(StandIn), help="train this one alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="fewer steps, for a try")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of additions, and so the weights, depend on the number of threads
    kinds: tuple[StandIn, ...] = (arguments.only,) if arguments.only else get_args(StandIn)
    for kind in kinds:
        out = arguments.out / kind if arguments.out else weights_dir(kind)
        train(kind, out, arguments.seed, arguments.steps)


if __name__ == "__main__":
    main()
