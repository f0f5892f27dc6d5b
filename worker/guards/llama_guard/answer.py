"""The grammar of the guard's answer in tokens: blank line, verdict, line break, `S`, number, `,S`, number, ..., end."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from worker.guards.errors import ModelRefused
from worker.policy.taxonomy import CATEGORY_KEYS

MOST_CATEGORIES = len(CATEGORY_KEYS)


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The token ids of everything that an answer is made of."""

    blank_line: int
    safe: int
    unsafe: int
    line_break: int
    first: int  # "S"
    another: int  # ",S"
    numbers: tuple[int, ...]  # of "1" to "14", in the order of CATEGORY_KEYS
    ends: frozenset[int]  # where `generate` stops

    @classmethod
    def of(cls, tokenizer: Any, ends: Iterable[int] = ()) -> "AnswerTokens":
        """The ids in a tokenizer; `ends` are further end tokens, those of the generation configuration.

        Raises ModelRefused where a word is not exactly one token.
        """

        def one(word: str) -> int:
            ids = tokenizer.encode(word, add_special_tokens=False)
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
                raise ModelRefused(
                    "answer_token",
                    f"{word!r} of the answer grammar is not exactly one known token of the tokenizer, but {len(ids)}",
                    "Use the tokenizer files of the Llama Guard 4 checkpoint itself",
                )
            return int(ids[0])

        return cls(
            blank_line=one("\n\n"),
            safe=one("safe"),
            unsafe=one("unsafe"),
            line_break=one("\n"),
            first=one("S"),
            another=one(",S"),
            numbers=tuple(one(key.removeprefix("S")) for key in CATEGORY_KEYS),
            ends=frozenset({one("<|eot|>"), *ends}),
        )

    @property
    def appended(self) -> tuple[int, ...]:
        """What is appended to every prompt: an unsafe answer up to its first number."""
        return self.blank_line, self.unsafe, self.line_break, self.first
