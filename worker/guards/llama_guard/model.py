"""The model behind the guard: a checkpoint's weights, as much of them as is needed and as small as is wanted."""

from pathlib import Path
from typing import Any, Final, Literal

from transformers import AutoConfig, Llama4ForCausalLM, Llama4ForConditionalGeneration

from worker.guards.dtype import DType, dtype_of
from worker.guards.errors import ModelRefused
from worker.guards.llama_guard.fitness import OWN_FILES, repair_config
from worker.guards.weights import check_filled

Weights = Literal["full", "int8"]

_OF_VISION: Final = ("vision_model.", "multi_modal_projector.")


def load_config(path: Path) -> Any:
    """The configuration of a checkpoint, with what the released one leaves out. Raises ModelRefused."""
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    repair_config(config)
    return config


def load_model(path: Path, config: Any, device: str, dtype: DType, *, images: bool, weights: Weights) -> Any:
    """A Llama 4 on its device.

    Without `images` the text model alone, 1.7 GB less of Llama Guard 4. With `int8` weights the linear layers of the
    text model take half the memory; the embedding, the head and the vision tower stay as they are. Raises ModelRefused.
    """
    kind = Llama4ForConditionalGeneration if images else Llama4ForCausalLM
    model, report = kind.from_pretrained(
        path,
        config=config if images else config.get_text_config(),
        dtype=dtype_of(dtype, device),
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # they are in the report
        output_loading_info=True,
    )
    if not images:
        report["unexpected_keys"] = {name for name in report["unexpected_keys"] if not name.startswith(_OF_VISION)}
    check_filled(report, path, OWN_FILES)
    if weights == "int8":
        _quantise(text_model(model).model, device)
    return model.to(device)


def text_model(model: Any) -> Any:
    """The Llama4ForCausalLM of a model with or without vision."""
    return getattr(model, "language_model", model)


def _quantise(decoder: Any, device: str) -> None:
    """Makes the linear layers' weights int8, in place, layer by layer on the device."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ModelRefused(
            "torchao_missing",
            "int8 weights need torchao, which is not installed",
            "pip install 'moderation-worker[int8]'",
        ) from None
    quantize_(decoder, Int8WeightOnlyConfig(), device=device)
