"""Tokenizers, processor and untrained models of the stand-ins: the real architectures, tiny."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Llama4Config,
    Llama4ForConditionalGeneration,
    Llama4ImageProcessor,
    Llama4Processor,
    PreTrainedTokenizerFast,
)

from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins import phrases
from worker.standins.attacks import attack_sample
from worker.standins.corpus import conversation

CHAT_TEMPLATE: Final = (Path(__file__).parent / "chat_template.jinja").read_text().strip()

TILE = 56  # pixels a side of an image tile
PATCH = 14  # pixels a side of a patch
MAX_TILES = 4  # most tiles an image is cut into, besides its thumbnail
TILE_TOKENS = (TILE // PATCH) ** 2 // 4  # the pixel shuffle folds four patches into a token

GUARD_SPECIAL: Final = [
    f"<|{name}|>"
    for name in (
        *("begin_of_text", "end_of_text", "header_start", "header_end", "eom", "eot", "python_start", "python_end"),
        *("finetune_right_pad", "image_start", "image_end", "tile_x_separator", "tile_y_separator", "image", "patch"),
    )
]
_GUARD_ROLES: Final = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>", "pad_token": "<|finetune_right_pad|>"}
_PROMPT_GUARD_SPECIAL: Final = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
ANSWER_WORDS: Final = ("\n\n", "\n", "safe", "unsafe", "S", ",S", *(str(n) for n in range(1, 15)))
_GUARD_SPLIT: Final = (
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # as in Llama's tokenizer
)
_HIDDEN_CHARACTERS: Final = r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"


def guard_tokenizer(lines: Iterable[str], size: int = 1024) -> Any:
    """A byte-level BPE whose answer words are single tokens, as in the real vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_GUARD_SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=GUARD_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_max_length=8192,
        **_GUARD_ROLES,
    )
    for word in ANSWER_WORDS:
        ids = wrapped.encode(word, add_special_tokens=False)
        if len(ids) != 1:
            raise ValueError(f"{word!r} is not one token: {ids}")
    return wrapped


def guard_tokenizer_lines(rng: random.Random) -> list[str]:
    """What the BPE learns from: the prompt often (its words become single tokens), messages, and answers."""
    render = Environment(autoescape=False).from_string(CHAT_TEMPLATE).render  # noqa: S701 (a prompt, not a page)
    shell = [{"role": "user", "content": []}, {"role": "assistant", "content": []}]
    prompts = [re.sub(r"<\|\w+\|>", "", render(messages=shell[:turns], bos_token="")) for turns in (1, 2)]
    messages = [message.text for _ in range(3000) for message in conversation(rng, rng.choice(["user", "assistant"]))]
    every_key = "unsafe\n" + ",".join(CATEGORY_KEYS)
    answers = ["\n\nsafe", "\n\nunsafe\nS9", every_key, every_key, every_key]
    return prompts * 300 + messages + list(phrases.WORDS) * 3 + answers * 100


def guard_processor(tokenizer: Any, tile: int = TILE, max_tiles: int = MAX_TILES) -> Any:
    """Llama 4's processor with the guard's chat template. `tile`: pixels a side."""
    images = Llama4ImageProcessor(size={"height": tile, "width": tile}, max_patches=max_tiles)
    return Llama4Processor(images, tokenizer, patch_size=PATCH, pixel_shuffle_ratio=0.5, chat_template=CHAT_TEMPLATE)


@dataclass(frozen=True, slots=True)
class Dims:
    """The dimensions of a Llama 4; the defaults are the stand-in's, about 1 million parameters."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp: int = 256
    vocabulary: int | None = None  # None: as many words as the tokenizer has
    vision: int = 64
    vision_layers: int = 2
    vision_heads: int = 4
    tile: int = TILE  # pixels a side


def guard_model(tokenizer: Any, dims: Dims = Dims()) -> Any:
    """An untrained Llama 4."""
    hidden, layers, vision = dims.hidden, dims.layers, dims.vision
    text = {
        "vocab_size": dims.vocabulary or len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": dims.heads,
        "num_key_value_heads": dims.kv_heads,
        "head_dim": dims.head_dim,
        "use_qk_norm": True,
        "intermediate_size": dims.mlp,
        "intermediate_size_mlp": dims.mlp,
        "moe_layers": [],  # without it an interleave step of 0 divides by zero
        "interleave_moe_layer_step": 0,
        "num_local_experts": 0,
        "no_rope_layers": [1] * layers,  # 1: this layer has RoPE
        "attention_chunk_size": 8192,
        "layer_types": ["full_attention"] * layers,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        "max_position_embeddings": 8192,
        "initializer_range": 0.05,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    eyes = {
        "hidden_size": vision,
        "num_hidden_layers": dims.vision_layers,
        "num_attention_heads": dims.vision_heads,
        "intermediate_size": 4 * vision,  # the adapter behind the pixel shuffle needs exactly this
        "image_size": dims.tile,
        "patch_size": PATCH,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": hidden,
        "projector_output_dim": hidden,
        "vision_output_dim": hidden,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    token = tokenizer.convert_tokens_to_ids
    config = Llama4Config(
        text_config=text,
        vision_config=eyes,
        boi_token_index=token("<|image_start|>"),
        eoi_token_index=token("<|image_end|>"),
        image_token_index=token("<|patch|>"),
    )
    model = Llama4ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def prompt_guard_tokenizer(rng: random.Random, size: int = 800) -> Any:
    """A BPE (training Unigram is not repeatable) whose normaliser undoes hidden characters and letter spacing."""
    tokenizer = Tokenizer(models.BPE(unk_token=_PROMPT_GUARD_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(_HIDDEN_CHARACTERS), ""),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"(?<=\b\p{L})[ \t](?=\p{L}\b)"), ""),  # i g n o r e -> ignore
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = list(_PROMPT_GUARD_SPECIAL.values())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([attack_sample(rng)[0] for _ in range(4000)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **_PROMPT_GUARD_SPECIAL)


def prompt_guard_model(tokenizer: Any, hidden: int = 48, layers: int = 3) -> Any:
    """An untrained DeBERTa-v2 of about 0.2 million parameters with two labels."""
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
        relative_attention=True,
        position_buckets=64,
        max_relative_positions=-1,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pooler_dropout=0.0,
        pooler_hidden_size=hidden,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
        num_labels=2,
        id2label={0: "BENIGN", 1: "MALICIOUS"},
        label2id={"BENIGN": 0, "MALICIOUS": 1},
    )
    return DebertaV2ForSequenceClassification(config)
