"""Loading: from the settings to the guards. torch and the hub's client are imported only when they are needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from worker.guards.allocator import keep_freed_memory
from worker.guards.checkpoint import Checkpoint
from worker.guards.errors import ModelRefused, ModelUnavailable, first_line
from worker.guards.guard import Guard, ModelId
from worker.guards.hub import COMMIT, HUB_ID, Hub
from worker.settings import STAND_IN, Settings
from worker.standins import StandIn, weights_dir

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model's files on this machine."""

    path: Path
    model: ModelId


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say about one model."""

    kind: StandIn  # which stand-in stands for it
    setting: str  # the setting's name up to `_model` and `_revision`
    source: str  # hub id, directory, or `stand-in`
    revision: str | None


def models_of(settings: Settings) -> tuple[Wanted, Wanted]:
    """Llama Guard's and Prompt Guard's model."""
    return (
        Wanted("llama-guard-4", "llama_guard", settings.llama_guard_model, settings.llama_guard_revision),
        Wanted("prompt-guard-2", "prompt_guard", settings.prompt_guard_model, settings.prompt_guard_revision),
    )


def hub_of(settings: Settings) -> Hub:
    """The hub with the settings' token and cache."""
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    return Hub(token=token, cache=settings.model_cache, offline=settings.offline)


def is_on_hub(source: str) -> bool:
    """Whether a model's source is a hub id: neither `stand-in` nor a directory."""
    return source != STAND_IN and not Path(source).expanduser().is_dir() and HUB_ID.fullmatch(source) is not None


def pinned(wanted: Wanted, hub: Hub) -> Wanted:
    """The model with a commit for a revision, where it is on the hub. Raises ModelUnavailable."""
    if not is_on_hub(wanted.source) or (wanted.revision and COMMIT.fullmatch(wanted.revision)):
        return wanted
    return replace(wanted, revision=hub.newest_commit(wanted.source, wanted.revision or "main"))


def resolve_model(wanted: Wanted, hub: Hub, say: Say) -> ResolvedModel:
    """The model's files, downloaded where they are not in the cache yet. Raises ModelUnavailable."""
    if is_on_hub(wanted.source):
        return _from_hub(wanted, hub, say)
    path = weights_dir(wanted.kind) if wanted.source == STAND_IN else Path(wanted.source).expanduser().resolve()
    if not path.is_dir():
        raise ModelUnavailable(
            f"{wanted.source!r} is neither a directory, a hub id (owner/name) nor `{STAND_IN}`: check the setting "
            f"{wanted.setting}_model"
        )
    checkpoint = Checkpoint(path)
    checkpoint.check_complete()
    name = f"{STAND_IN}/{path.name}" if checkpoint.stand_in else path.name
    return ResolvedModel(path, ModelId(name, f"local-{checkpoint.content_hash()}", checkpoint.stand_in))


def _from_hub(wanted: Wanted, hub: Hub, say: Say) -> ResolvedModel:
    if wanted.revision is None or not COMMIT.fullmatch(wanted.revision):
        fault = "is not set" if wanted.revision is None else "is not a commit (40 hex digits)"
        raise ModelUnavailable(
            f"{wanted.setting}_revision {fault}: {wanted.source} must be pinned; `moderation-worker models fetch` "
            f"downloads the newest commit and prints the line to set"
        )
    say(f"{wanted.source} at {wanted.revision}")
    checkpoint = Checkpoint(hub.download(wanted.source, wanted.revision))
    checkpoint.check_complete()
    return ResolvedModel(checkpoint.path, ModelId(wanted.source, wanted.revision, checkpoint.stand_in))


def load_guards(settings: Settings, say: Say = lambda line: None) -> tuple[Guard, ...]:
    """Llama Guard and Prompt Guard as the settings want them, on their device.

    `say` gets a line before each step. Raises ModelUnavailable where files cannot be had, ModelRefused where a model
    must not judge as it is.
    """
    hub = hub_of(settings)
    llama_guard, prompt_guard = (resolve_model(wanted, hub, say) for wanted in models_of(settings))
    device = _prepare_torch(settings)
    say(f"loading {llama_guard.model.id} on {device}")
    first = _load_llama_guard(llama_guard, settings, device)
    say(f"loading {prompt_guard.model.id} on {device}")
    return first, _load_prompt_guard(prompt_guard, settings, device)


def _load_llama_guard(resolved: ResolvedModel, settings: Settings, device: str) -> Guard:
    from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions

    options = LlamaGuardOptions(
        window_tokens=settings.window_tokens,
        max_windows=settings.max_windows,
        context_tokens=settings.context_tokens,
        max_images=settings.max_images,
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_image_tiles=settings.max_image_tiles,
        image_hosts=settings.image_hosts,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        weights=settings.llama_guard_weights,
    )
    model = resolved.model
    if options.weights != "full":  # they answer a little differently, and every verdict says what answered
        model = replace(model, revision=f"{model.revision}+{options.weights}")
    with _refusing(resolved, "llama_guard"):
        return LlamaGuard.load(resolved.path, model, device=device, dtype=settings.dtype, options=options)


def _load_prompt_guard(resolved: ResolvedModel, settings: Settings, device: str) -> Guard:
    from worker.guards.prompt_guard.guard import PromptGuard, PromptGuardOptions

    options = PromptGuardOptions(max_windows=settings.max_windows)
    with _refusing(resolved, "prompt_guard"):
        return PromptGuard.load(resolved.path, resolved.model, device=device, dtype=settings.dtype, options=options)


@contextmanager
def _refusing(resolved: ResolvedModel, setting: str) -> Iterator[None]:
    """A checkpoint of another kind makes transformers raise one of these."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = (
            f"{resolved.model.id} in {resolved.path} cannot be loaded ({type(error).__name__}: {first_line(error)})"
        )
        raise ModelRefused("not_loadable", problem, f"Check the setting {setting}_model") from error


def _prepare_torch(settings: Settings) -> str:
    """Applies the settings to torch; returns the device by its name."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # a worker's standard error is its log
    transformers_logging.set_verbosity_error()  # and in its own form
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    device = device_of(settings.device)
    if device == "cpu":
        keep_freed_memory()
    return device


def device_of(name: str) -> str:
    """The device that the setting `device` means, by torch's word for it. Raises ModelRefused."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise ModelRefused(
            "unknown_device", f"torch knows no device {name!r}", "Set device to auto, cpu or cuda"
        ) from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelRefused(
            "no_cuda_device", f"device is {name} but torch sees no CUDA device", "Set device to auto or cpu"
        )
    return name
