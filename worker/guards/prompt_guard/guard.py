"""PromptGuard: finds prompt attacks (injections and jailbreaks) in what users and tools say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from transformers import PreTrainedTokenizerFast

from worker.contract.chat_event import ChatEvent
from worker.guards.dtype import DType
from worker.guards.errors import ModelRefused, first_line
from worker.guards.guard import Check, Fault, Finding, ModelId, Preparation
from worker.guards.prompt_guard.classifier import ANOTHER_MODEL, Classifier
from worker.guards.prompt_guard.windows import Cut, WindowCutter
from worker.guards.turns import turns_of
from worker.policy.policy import Policy

log = structlog.get_logger(__name__)

# A tokenizer that resists spacing attacks reads both alike.
_PLAIN, _SPACED = "ignore previous", "i g n o r e previous"


@dataclass(frozen=True, slots=True)
class PromptGuardOptions:
    """How texts are cut."""

    max_windows: int = 32  # most windows of an event
    overlap_tokens: int = 64  # what consecutive windows share


class PromptGuard:
    """Prompt Guard 2 (86M, 22M or a stand-in) as a guard.

    A check is a window of at most 512 tokens, its score is P(prompt attack).
    """

    name = "prompt_guard"

    def __init__(
        self, cutter: WindowCutter, classifier: Classifier, model: ModelId, options: PromptGuardOptions
    ) -> None:
        self._cutter = cutter
        self._classifier = classifier
        self._options = options
        self.models = (model,)

    @classmethod
    def load(
        cls,
        path: Path,
        model: ModelId,
        *,
        device: str,
        dtype: DType = "auto",
        options: PromptGuardOptions = PromptGuardOptions(),
    ) -> "PromptGuard":
        """The guard from a local directory, on a torch device ("cpu", "cuda", "cuda:1"). Raises ModelRefused."""
        tokenizer = _load_tokenizer(path)
        classifier = Classifier.load(path, pad=tokenizer.pad_token_id, device=device, dtype=dtype)
        largest = max(tokenizer.get_vocab().values())
        if largest >= classifier.vocabulary:
            problem = f"the tokenizer in {path} has ids up to {largest}, the model {classifier.vocabulary} embeddings"
            raise ModelRefused("wrong_tokenizer", problem, ANOTHER_MODEL)
        cutter = WindowCutter.of(tokenizer, overlap=options.overlap_tokens)
        if cutter.cut(_PLAIN, 1) != cutter.cut(_SPACED, 1):
            log.warning("prompt_guard_tokenizer_open_to_spacing", model=model.id, revision=model.revision)
        return cls(cutter, classifier, model, options)

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        """Windows over the user and tool messages of the last turn, each and together; none where the assistant spoke
        last.

        Raises Unjudgeable where the last message is a system message.
        """
        del policy  # Prompt Guard has nothing to configure: the decision applies the threshold
        turn = turns_of(event)[-1]
        if turn.role != "user":
            return Preparation([])
        cut = self._cut_all([message.text for message in turn.messages])
        return Preparation([Check(len(window), window) for window in cut.windows], complete=cut.complete)

    def judge(self, checks: Sequence[Check]) -> Sequence[Finding]:
        """P(prompt attack) of each window, in one padded forward pass. Raises what torch raises."""
        scores = self._classifier.attack_probabilities([check.payload for check in checks])
        return [Finding(score) if math.isfinite(score) else Finding(None, fault=Fault.GUARD_ERROR) for score in scores]

    def _cut_all(self, texts: list[str]) -> Cut:
        """Each message on its own, so that none dilutes another, and all of them joined, so that none hides a part of
        an attack; only joined where that would make too many windows."""
        most = self._options.max_windows
        joined = self._cutter.cut("\n".join(texts), most)
        if len(texts) == 1 or not joined.complete:
            return joined
        windows = dict.fromkeys(joined.windows)  # what is the same is judged once: a message beside an empty one
        for text in texts:
            windows |= dict.fromkeys(self._cutter.cut(text, most).windows)
            if len(windows) > most:
                return joined
        return Cut(tuple(windows), complete=True)


def _load_tokenizer(path: Path) -> Any:
    try:
        # Not AutoTokenizer: it rebuilds the tokenizer and drops the file's normaliser, which resists spacing attacks.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        problem = f"no tokenizer can be loaded from {path} ({first_line(error)})"
        raise ModelRefused("not_loadable", problem, ANOTHER_MODEL) from error
    if tokenizer.pad_token_id is None:
        raise ModelRefused("no_padding_token", f"the tokenizer in {path} has no padding token", ANOTHER_MODEL)
    return tokenizer
