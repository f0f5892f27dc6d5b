"""Llama Guard 4 as a guard: events to prompts on the CPU threads, prompts to findings on the device's thread."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from transformers import AutoProcessor

from worker.contract.chat_event import ChatEvent
from worker.guards.dtype import DType
from worker.guards.errors import ModelRefused
from worker.guards.guard import Check, Finding, ModelId, Preparation
from worker.guards.llama_guard.answer import AnswerTokens
from worker.guards.llama_guard.fitness import check_processor
from worker.guards.llama_guard.image_fetcher import ImageFetcher
from worker.guards.llama_guard.images import ImageLimits, ImageReader
from worker.guards.llama_guard.model import Weights, load_config, load_model
from worker.guards.llama_guard.one_pass import OnePass, Question
from worker.guards.llama_guard.planner import PlanLimits, Planner
from worker.guards.llama_guard.prefix_cache import PrefixCache, probes_of
from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.guards.llama_guard.windows import WindowSize
from worker.guards.turns import turns_of
from worker.observability import metrics
from worker.policy.policy import Policy
from worker.settings import MiB
from worker.standins import ABOUT

_LEAST_WINDOW: Final = 16  # tokens


@dataclass(frozen=True, slots=True)
class LlamaGuardOptions:
    """How events become prompts, and prompts findings. The defaults are those of the settings."""

    window_tokens: int = 4096  # of the judged text in one prompt
    window_overlap_tokens: int | None = None  # None: a quarter of a window
    max_windows: int = 32  # of one event
    context_tokens: int = 8192  # of a whole prompt
    max_images: int = 5  # of one event; 0: only the text model is loaded
    max_image_bytes: int = 8 * MiB
    max_image_pixels: int = 16_000_000
    max_image_tiles: int | None = None  # an image is cut into, besides its overview; None: as the checkpoint says
    image_hosts: tuple[str, ...] = ()  # from which https image URLs are fetched
    image_fetch_seconds: float = 10.0
    prefix_cache_bytes: int = 1 << 30  # of keys and values on the device; 0: every prompt is computed whole
    weights: Weights = "full"


class LlamaGuard:
    """Judges the last turn of a conversation: safe or unsafe, and the violated categories."""

    name = "llama_guard"

    def __init__(self, planner: Planner, one_pass: OnePass, model: ModelId) -> None:
        self._planner, self._one_pass = planner, one_pass
        self.models = (model,)

    @classmethod
    def load(
        cls,
        path: Path,
        model: ModelId,
        *,
        device: str = "cpu",
        dtype: DType = "auto",
        options: LlamaGuardOptions | None = None,
    ) -> Self:
        """Loads a checkpoint from its folder and checks that it can be judged with.

        `device` is torch's word for one. Raises ModelRefused with the cause and the remedy, OSError where files are
        missing, and what torch raises where the device has no room.
        """
        options = _capped(options or LlamaGuardOptions(), path / ABOUT)
        config = load_config(path)
        processor = AutoProcessor.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        weights = load_model(path, config, device, dtype, images=options.max_images > 0, weights=options.weights)
        return cls.of(weights, processor, model, options)

    @classmethod
    def of(cls, weights: Any, processor: Any, model: ModelId, options: LlamaGuardOptions) -> Self:
        """The guard around a loaded model and processor. Raises ModelRefused."""
        prompts = Prompts(processor, options.max_image_tiles)
        check_processor(processor, prompts, getattr(weights.config, "image_token_id", None))
        tokens = AnswerTokens.of(processor.tokenizer, _ends(weights.generation_config))
        fetcher = ImageFetcher(options.image_hosts, options.image_fetch_seconds) if options.image_hosts else None
        reader = ImageReader(ImageLimits(options.max_image_bytes, options.max_image_pixels), fetcher)
        planner = Planner(prompts, reader, _plan_limits(options, prompts))
        prefixes = PrefixCache(weights, probes_of(prompts), options.prefix_cache_bytes)
        return cls(planner, OnePass(weights, tokens, prefixes), model)

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        """The prompts of an event, a check each. Thread-safe.

        Raises Unjudgeable: `nothing_to_judge`, or for an image `image_not_base64`, `image_unreadable`,
        `image_too_large`, `image_url_not_allowed`, `image_fetch_failed`.
        """
        plan = self._planner.plan(turns_of(event), policy.excluded_from_prompt)
        wanted_from = policy.categories_wanted_from
        checks = [Check(self._one_pass.cost(prompt), Question(prompt, wanted_from)) for prompt in plan.prompts]
        if plan.delimiters_neutralised:
            metrics.DELIMITERS_NEUTRALISED.inc(plan.delimiters_neutralised)
        return Preparation(checks, plan.images, plan.turns_dropped, plan.complete, plan.delimiters_neutralised)

    def judge(self, checks: Sequence[Check]) -> list[Finding]:
        """One finding a check, in one forward pass. Only for the device's thread; raises what torch raises."""
        return self._one_pass.judge([check.payload for check in checks])


def _capped(options: LlamaGuardOptions, about: Path) -> LlamaGuardOptions:
    """A stand-in says how long a text it judges well."""
    if not about.exists():
        return options
    most = int(json.loads(about.read_text(encoding="utf-8")).get("window_tokens", options.window_tokens))
    return replace(options, window_tokens=min(options.window_tokens, most))


def _plan_limits(options: LlamaGuardOptions, prompts: Prompts) -> PlanLimits:
    shell = len(prompts.render([PromptTurn("user", ""), PromptTurn("assistant", "")]))
    tokens = min(options.window_tokens, options.context_tokens - shell - _LEAST_WINDOW)
    if tokens < _LEAST_WINDOW:
        raise ModelRefused(
            "context_tokens",
            f"a prompt without any message has {shell} tokens: {options.context_tokens} leave no room for one",
            f"Set context_tokens to {shell + 2 * _LEAST_WINDOW} or more",
        )
    overlap = options.window_overlap_tokens
    size = WindowSize(tokens, tokens // 4 if overlap is None else min(overlap, tokens // 2), options.max_windows)
    return PlanLimits(size, options.context_tokens, options.max_images)


def _ends(generation_config: Any) -> list[int]:
    ends = generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
