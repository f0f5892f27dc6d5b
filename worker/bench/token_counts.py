"""A tokenizer that cuts Llama Guard's template into as many tokens as the published vocabulary does.

What a prefix cache is worth depends on how many of a prompt's tokens are the prefix's. The stand-in's vocabulary was
trained on this one template and cuts it shorter than the published one, which was not.
"""

import copy
import json
from itertools import takewhile
from typing import Any, Final

from tokenizers import Tokenizer

from worker.guards.llama_guard.prompts import Prompts, PromptTurn
from worker.standins.build import MAX_TILES, TILE, guard_processor

PREFIX: Final = 146  # tokens of the published prompt before the message's text
CLOSING: Final = 58  # and after it
_PROBES: Final = ("a", "7")


def with_published_counts(tokenizer: Any) -> Any:
    """A copy of the stand-in's tokenizer without some of its merges: those, the last ones first, whose tokens the
    prefix has and the closing part has not, until the prefix has PREFIX tokens. What an answer consists of stays as it
    is. Raises ValueError where there are no such merges left."""
    while True:
        prefix, closing = parts(tokenizer)
        if len(prefix) >= PREFIX:
            return tokenizer
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        of_prefix = set(tokenizer.convert_ids_to_tokens(prefix)) - set(tokenizer.convert_ids_to_tokens(closing))
        places = [place for place, merge in enumerate(merges) if "".join(merge) in of_prefix]
        if not places:
            raise ValueError(f"the prefix cannot be cut into {PREFIX} tokens: {len(prefix)} at most")
        tokenizer = _with_merges(tokenizer, merges[: places[-1]] + merges[places[-1] + 1 :])


def parts(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens of a user's prompt before the message's text and after it."""
    prompts = Prompts(guard_processor(tokenizer, TILE, MAX_TILES))
    one, other = (prompts.render([PromptTurn("user", text)]).ids.tolist() for text in _PROBES)
    return _same_start(one, other), _same_start(one[::-1], other[::-1])[::-1]


def _same_start(one: list[int], other: list[int]) -> list[int]:
    return [each for each, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]


def _with_merges(tokenizer: Any, merges: list[Any]) -> Any:
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    description["model"]["merges"] = merges
    changed = copy.deepcopy(tokenizer)
    changed._tokenizer = Tokenizer.from_str(json.dumps(description))
    return changed
