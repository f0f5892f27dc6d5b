"""How long messages are."""

import random
from collections.abc import Callable, Mapping
from typing import Final

# Tokens of a message, drawn. `mixed` is what public chats look like: most are short, a few very long.
LENGTHS: Final[Mapping[str, Callable[[random.Random], int]]] = {
    "chat": lambda rng: rng.randint(15, 45),
    "mixed": lambda rng: min(2000, max(5, round(rng.lognormvariate(3.7, 1.0)))),
    "long": lambda rng: rng.randint(400, 1500),
}
