"""Labelled sample data in the words that the stand-ins know: `python -m worker.evaluation.sample_data > samples.jsonl`.

To try `evaluate` and `calibrate` on; it says nothing about moderation quality.
"""

import random
import sys
from collections.abc import Iterator
from typing import Any

import orjson

from worker.evaluation.labelled_example import ENGLISH, MULTI_IMAGE, SINGLE_IMAGE
from worker.policy.taxonomy import CATEGORY_KEYS, TEXT_ONLY
from worker.standins.attacks import attack_sample
from worker.standins.corpus import Message, conversation, picture_message

_ROUNDS = 12  # of 14 categories each: some 600 rows in a minute on two cores


def sample_rows(rounds: int = _ROUNDS, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of a labelled JSONL: text, responses, pictures, attacks. The same seed gives the same rows."""
    rng = random.Random(seed)
    for number, (messages, group, said) in enumerate(_drafts(rng, rounds), 1):
        sent = [message.as_sent() for message in messages]
        yield {"id": f"sample-{number}", "messages": sent, "group": group, **said, "label_source": "synthetic"}


def _drafts(rng: random.Random, rounds: int) -> Iterator[tuple[list[Message], str, dict[str, Any]]]:
    for _ in range(rounds):
        for key in CATEGORY_KEYS:
            unsafe, safe = {"label": "unsafe", "categories": [key]}, {"label": "safe", "categories": [key]}
            yield list(conversation(rng, rng.choice(("user", "assistant")), keys=[key], earlier=0)), ENGLISH, unsafe
            yield list(conversation(rng, rng.choice(("user", "assistant")), keys=[], earlier=0)), ENGLISH, safe
        key = rng.choice([key for key in CATEGORY_KEYS if key not in TEXT_ONLY])
        for keys in ([key], [None]):
            said = {"label": "unsafe", "categories": [key]} if keys[0] else {"label": "safe"}
            yield [picture_message(rng, list(keys))], SINGLE_IMAGE, said
            yield [picture_message(rng, [None, *keys])], MULTI_IMAGE, said
        for _ in range(8):
            text, is_attack = attack_sample(rng)
            yield [Message("user", text)], ENGLISH, {"prompt_attack": is_attack}


if __name__ == "__main__":
    for row in sample_rows():
        sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
