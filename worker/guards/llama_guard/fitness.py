"""Fitness: whether a checkpoint's files do what this engine relies on. Every trap here would be silent later."""

import re
from typing import Any

import structlog
from transformers.models.llama4 import processing_llama4

from worker.guards.errors import ModelRefused
from worker.guards.llama_guard.delimiters import neutralise
from worker.guards.llama_guard.prompts import Prompts, PromptTurn

log = structlog.get_logger(__name__)

_ATTENTION_CHUNK = 8192  # the released config has null, which `forward` does not take; full attention never uses it
OWN_FILES = "Download the checkpoint again and keep its files as they are"


def repair_config(config: Any) -> None:
    """Fills in, before loading, what the released configuration leaves out. Raises ModelRefused."""
    if config.model_type != "llama4":
        raise ModelRefused(
            "model_type",
            f"the checkpoint's model_type is {config.model_type!r} instead of 'llama4'",
            "Name a Llama Guard 4 checkpoint",
        )
    text = config.text_config
    with_rope = list(text.no_rope_layers or ())  # 1: the layer has RoPE, whatever the name says
    if len(with_rope) != text.num_hidden_layers or not all(with_rope):
        raise ModelRefused(
            "layers_without_rope",
            "text_config.no_rope_layers in config.json does not give every layer RoPE, as Llama Guard 4 was trained",
            f"Set it to a list of {text.num_hidden_layers} ones, or: {OWN_FILES}",
        )
    text.attention_chunk_size = _ATTENTION_CHUNK
    text.layer_types = ["full_attention"] * text.num_hidden_layers


def check_processor(processor: Any, prompts: Prompts, image_token: int | None) -> None:
    """Checks template, padding, exclusion of categories and sanitising of a processor. Raises ModelRefused."""
    _check_template(processor, prompts)
    _check_pad(processor.tokenizer, image_token)
    _check_exclusion(prompts)
    _check_control_tokens(processor.tokenizer, prompts)
    _note_other_delimiters(processor.tokenizer, prompts)


def _check_template(processor: Any, prompts: Prompts) -> None:
    # Without a template among the checkpoint's files, transformers takes that of the Llama 4 assistant, in silence.
    if not processor.chat_template or processor.chat_template == processing_llama4.chat_template:
        raise ModelRefused("chat_template", "the checkpoint has no chat template of its own", OWN_FILES)
    try:
        first, second = (prompts.render([PromptTurn("user", text)]).ids.tolist() for text in ("one", "another text"))
    except Exception as error:  # Jinja and the processor raise many kinds
        raise ModelRefused("chat_template", f"the chat template does not render ({error})", OWN_FILES) from error
    if first == second:
        raise ModelRefused("chat_template", "the chat template leaves out the messages' text", OWN_FILES)


def _check_pad(tokenizer: Any, image_token: int | None) -> None:
    pad = tokenizer.pad_token_id
    if pad is None or pad == image_token:
        fault = "no pad token" if pad is None else "the image token as its pad token, so that padding counts as image"
        raise ModelRefused("pad_token", f"the tokenizer has {fault}", "Set pad_token to '<|finetune_right_pad|>'")


def _check_exclusion(prompts: Prompts) -> None:
    turns = [PromptTurn("user", "text")]
    if len(prompts.render(turns, ["S9"])) >= len(prompts.render(turns)):
        raise ModelRefused(
            "category_exclusion",
            "the chat template ignores excluded_category_keys: policies could not exclude a category",
            "Use the chat template of the Llama Guard 4 checkpoint itself",
        )


def _check_control_tokens(tokenizer: Any, prompts: Prompts) -> None:
    """Special-token text in a message must stay text: else a message could end its turn and answer for the guard."""
    special = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    ids = set(tokenizer.convert_tokens_to_ids([token.content for token in special]))
    forged = "a" + "b".join(token.content for token in special) + "c"
    try:
        plain, tried = (prompts.render([PromptTurn("user", text)]).ids.tolist() for text in ("text", forged))
        intact = [token for token in tried if token in ids] == [token for token in plain if token in ids]
    except ValueError:  # "<|image|>" in text counts as an image where nothing sanitises it
        intact = False
    if not intact:
        raise ModelRefused(
            "control_tokens",
            "special-token text in a message becomes special tokens",
            "Use a version of transformers whose apply_chat_template knows sanitize_control_tokens (5.23)",
        )


def _note_other_delimiters(tokenizer: Any, prompts: Prompts) -> None:
    """Logs what the template writes around messages and `neutralise` does not know: messages could imitate it."""
    turns = [PromptTurn("user", "text"), PromptTurn("assistant", "text")]
    prompt = tokenizer.decode(prompts.render(turns).ids)
    around = re.findall(r"<[A-Za-z][^<>|]*>", prompt) + re.findall(r"\n\n\w+:(?= *text)", prompt)
    if others := [delimiter for delimiter in around if not neutralise(delimiter)[1]]:
        log.warning("llama_guard_template_has_other_delimiters", delimiters=others)
