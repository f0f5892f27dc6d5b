"""The classifier: windows of token ids to probabilities of a prompt attack, in one forward pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from worker.guards.dtype import DType, dtype_of
from worker.guards.errors import ModelRefused, first_line
from worker.guards.prompt_guard.windows import WINDOW_TOKENS, Window
from worker.guards.weights import check_filled

_ATTACK: Final = 1  # the index of the label that means an attack
# Measured with windows of 512 tokens: larger passes are slower on a CPU, and attention takes memory by rows.
_CPU_PASS_TOKENS: Final = 2048
ANOTHER_MODEL: Final = "Point MODERATION_PROMPT_GUARD_MODEL at Prompt Guard 2 (or `stand-in`)"
_LABELS: Final = (("LABEL_0", "LABEL_1"), ("BENIGN", "MALICIOUS"))


class Classifier:
    """A two-label sequence classifier on one device. Used by one thread."""

    def __init__(self, model: Any, *, pad: int) -> None:
        self._model = model
        self._pad = pad

    @classmethod
    def load(cls, path: Path, *, pad: int, device: str, dtype: DType) -> "Classifier":
        """Loads safetensors weights from a local directory; no code of the checkpoint runs.

        Raises ModelRefused where the checkpoint is not a complete Prompt Guard.
        """
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
            _check_config(config, path)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path,
                config=config,
                dtype=dtype_of(dtype, device),
                attn_implementation="eager",  # DeBERTa has no other
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # they are in the report
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            problem = f"no classifier can be loaded from {path} ({first_line(error)})"
            raise ModelRefused("not_loadable", problem, ANOTHER_MODEL) from error
        check_filled(report, path, ANOTHER_MODEL)
        return cls(model.to(device).eval(), pad=pad)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        rows: int = self._model.get_input_embeddings().num_embeddings
        return rows

    @torch.inference_mode()
    def attack_probabilities(self, windows: Sequence[Window]) -> list[float]:
        """P(prompt attack) of each window, 0 to 1; NaN where the model gave no number.

        Raises ValueError where a window has more than WINDOW_TOKENS ids.
        """
        longest = max(map(len, windows), default=0)
        if longest > WINDOW_TOKENS:
            raise ValueError(f"a window has {longest} tokens; the model is right up to {WINDOW_TOKENS} only")
        at_once = len(windows)
        if self._model.device.type == "cpu":
            at_once = max(1, _CPU_PASS_TOKENS // max(longest, 1))
        scores: list[float] = []
        for start in range(0, len(windows), at_once or 1):
            scores += self._forward(windows[start : start + at_once])
        return scores

    def _forward(self, windows: Sequence[Window]) -> list[float]:
        longest = max(map(len, windows))
        rows = [[*window, *[self._pad] * (longest - len(window))] for window in windows]
        real = [[1] * len(window) + [0] * (longest - len(window)) for window in windows]
        ids, mask = (torch.tensor(matrix, device=self._model.device) for matrix in (rows, real))
        logits = self._model(input_ids=ids, attention_mask=mask).logits
        scores: list[float] = logits.float().softmax(-1)[:, _ATTACK].tolist()
        return scores


def _check_config(config: Any, path: Path) -> None:
    labels = tuple(str(config.id2label[index]).upper() for index in sorted(config.id2label))
    if labels not in _LABELS:
        problem = (
            f"the model in {path} has the labels {', '.join(labels[:5])} where Prompt Guard 2 has BENIGN, MALICIOUS"
        )
        raise ModelRefused("wrong_labels", problem, ANOTHER_MODEL)
    limit = getattr(config, "max_position_embeddings", 0)
    if limit < WINDOW_TOKENS:
        problem = f"the model in {path} reads {limit} tokens at once where Prompt Guard 2 reads {WINDOW_TOKENS}"
        raise ModelRefused("short_window", problem, ANOTHER_MODEL)
