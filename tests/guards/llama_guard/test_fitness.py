"""Fitness: each trap in a checkpoint's files is refused by its name."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from worker.guards.errors import ModelRefused
from worker.guards.llama_guard.answer import AnswerTokens
from worker.guards.llama_guard.guard import LlamaGuard, LlamaGuardOptions

from .conftest import MODEL

pytestmark = pytest.mark.models


@pytest.fixture(scope="session")
def checkpoint(random_model: Any, processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    random_model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


def linked(checkpoint: Path, path: Path, *, without: str = "") -> Path:
    for file in checkpoint.iterdir():
        if file.name != without:
            (path / file.name).write_bytes(file.read_bytes())
    return path


def cause_of(model: Any, processor: Any, options: LlamaGuardOptions | None = None) -> str:
    with pytest.raises(ModelRefused) as caught:
        LlamaGuard.of(model, processor, MODEL, options or LlamaGuardOptions())
    assert caught.value.remedy in str(caught.value)
    return caught.value.cause


def load_cause(path: Path) -> str:
    with pytest.raises(ModelRefused) as caught:
        LlamaGuard.load(path, MODEL)
    return caught.value.cause


def edited(path: Path, **text_config: Any) -> Path:
    config = json.loads((path / "config.json").read_text())
    for key, value in text_config.items():
        config["text_config"].pop(key, None)
        if value is not ...:
            config["text_config"][key] = value
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_released_config_loads(checkpoint: Path, tmp_path: Path) -> None:
    path = edited(linked(checkpoint, tmp_path), attention_chunk_size=None, layer_types=...)
    guard = LlamaGuard.load(path, MODEL)
    config = guard._one_pass._model.config.text_config
    assert config.attention_chunk_size
    assert set(config.layer_types) == {"full_attention"}


@pytest.mark.parametrize("value", [[1, 0, 1], [0, 0, 0], [1, 1]])
def test_layers_without_rope(checkpoint: Path, tmp_path: Path, value: Any) -> None:
    assert load_cause(edited(linked(checkpoint, tmp_path), no_rope_layers=value)) == "layers_without_rope"


@pytest.mark.parametrize("value", [..., []])
def test_no_word_about_rope(checkpoint: Path, tmp_path: Path, value: Any) -> None:
    # transformers then leaves every fourth layer without; an interval of 2 shows it with three layers
    path = edited(linked(checkpoint, tmp_path), no_rope_layers=value, no_rope_layer_interval=2)
    assert load_cause(path) == "layers_without_rope"


def test_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert load_cause(tmp_path) == "model_type"


def test_no_chat_template(checkpoint: Path, tmp_path: Path) -> None:
    assert load_cause(linked(checkpoint, tmp_path, without="chat_template.jinja")) == "chat_template"


@pytest.mark.parametrize("template", ["", "{{ raise_exception('no') }}", "{{ bos_token }}always the same"])
def test_a_chat_template_that_does_not_render_the_text(random_model: Any, processor: Any, template: str) -> None:
    broken = copy.deepcopy(processor)
    broken.chat_template = template
    assert cause_of(random_model, broken) == "chat_template"


def test_a_chat_template_without_exclusion(random_model: Any, processor: Any) -> None:
    broken = copy.deepcopy(processor)
    broken.chat_template = processor.chat_template.replace("key not in excluded_category_keys", "true")
    assert cause_of(random_model, broken) == "category_exclusion"


def test_control_tokens_that_come_through(random_model: Any, processor: Any) -> None:
    class Forgetful(type(processor)):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, **options: Any) -> Any:
            return super().apply_chat_template(*args, **{**options, "sanitize_control_tokens": False})

    broken = copy.deepcopy(processor)
    broken.__class__ = Forgetful
    assert cause_of(random_model, broken) == "control_tokens"


def test_padding(random_model: Any, processor: Any) -> None:
    none = copy.deepcopy(processor)
    none.tokenizer.pad_token = None
    assert cause_of(random_model, none) == "pad_token"
    image = copy.deepcopy(processor)
    image.tokenizer.pad_token = "<|patch|>"
    assert cause_of(random_model, image) == "pad_token"


def test_words_that_are_not_one_token(tokenizer: Any) -> None:
    class Splitting:
        unk_token_id = None

        def encode(self, word: str, **_: Any) -> list[int]:
            return [1, 2] if word == self.split else [1]

    for word in ("\n\n", "safe", "unsafe", "\n", "S", ",S", "1", "14", "<|eot|>"):
        broken = Splitting()
        broken.split = word  # type: ignore[attr-defined]
        with pytest.raises(ModelRefused, match="answer grammar") as caught:
            AnswerTokens.of(broken)
        assert caught.value.cause == "answer_token"
    assert AnswerTokens.of(tokenizer).appended[1] == tokenizer.convert_tokens_to_ids("unsafe")


def test_too_little_context(random_model: Any, processor: Any) -> None:
    assert cause_of(random_model, processor, LlamaGuardOptions(context_tokens=100)) == "context_tokens"


def with_tensors(checkpoint: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    linked(checkpoint, path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def test_missing_tensors_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    def drop(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if ".layers.1." in name and "language_model" in name]:
            del tensors[name]

    with pytest.raises(
        ModelRefused, match=r"9 tensors .* missing .*layers\.1\.feed_forward\.down_proj.*, \.\.\."
    ) as caught:
        LlamaGuard.load(with_tensors(checkpoint, tmp_path, drop), MODEL)
    assert caught.value.cause == "incomplete_weights"


def test_tensors_of_another_shape_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    def cut(tensors: dict[str, Any]) -> None:
        tensors["language_model.lm_head.weight"] = tensors["language_model.lm_head.weight"][:-1].clone()

    with pytest.raises(ModelRefused, match=r"1 tensors .*lm_head") as caught:
        LlamaGuard.load(with_tensors(checkpoint, tmp_path, cut), MODEL)
    assert caught.value.cause == "incomplete_weights"


def test_layers_that_the_config_leaves_out_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = edited(linked(checkpoint, tmp_path), num_hidden_layers=2, no_rope_layers=[1, 1], layer_types=...)
    assert load_cause(path) == "unused_layers"


def test_a_tied_head_is_not_missing(checkpoint: Path, tmp_path: Path) -> None:
    def untie(tensors: dict[str, Any]) -> None:
        del tensors["language_model.lm_head.weight"]

    path = edited(with_tensors(checkpoint, tmp_path, untie), tie_word_embeddings=True)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    LlamaGuard.load(path, MODEL)


def test_only_safetensors_are_loaded(checkpoint: Path, tmp_path: Path) -> None:
    path = linked(checkpoint, tmp_path, without="model.safetensors")
    (path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(OSError, match="safetensors"):
        LlamaGuard.load(path, MODEL)
