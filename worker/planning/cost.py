"""What a batch costs on a card: operations of Llama Guard 4 by its published dimensions, and what the card makes of
them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Llama Guard 4's text model (its config.json): layers, hidden size, attention heads and their size, vocabulary.
_LAYERS: Final = 48
_HIDDEN: Final = 5120
_HEADS, _KEY_VALUE_HEADS, _HEAD_SIZE = 40, 8, 128
_MLP: Final = 8192
_VOCABULARY: Final = 202_048

# Operations (a multiplication and an addition are two) of a token's linear layers, of a token with one key of
# attention, and of one row of logits.
A_TOKEN: Final = 2.0 * _LAYERS * _HIDDEN * (2 * _HEADS * _HEAD_SIZE + 2 * _KEY_VALUE_HEADS * _HEAD_SIZE + 3 * _MLP)
A_KEY: Final = 4.0 * _LAYERS * _HEADS * _HEAD_SIZE
AN_ANSWER: Final = 2.0 * _HIDDEN * _VOCABULARY
# One 336-pixel tile of 577 patches through the vision encoder: 34 layers of 1408, an MLP of 5632.
A_TILE: Final = 2.0 * 577 * 34 * (4 * 1408**2 + 2 * 1408 * 5632)

PREFIX_TOKENS: Final = 146  # kept as keys and values (docs/architecture.md)
_AROUND_MESSAGE: Final = 57 + 4  # tokens after the prefix that are no message: the template's, and the four appended
IMAGE_TOKENS: Final = 727  # of a 640x480 picture: five tiles with their separators
_IMAGE_TILES: Final = 5

# Prompt Guard 2: 86 M parameters without its embeddings, 12 layers; it reads the message's text alone.
PROMPT_GUARD_A_TOKEN: Final = 2.0 * 86e6
_PROMPT_GUARD_AROUND: Final = 2  # the tokens that begin and end a window
_PROMPT_GUARD_LAYERS: Final = 12


@dataclass(frozen=True, slots=True)
class Message:
    """One event, as the device sees it."""

    tokens: int  # of the last message's text
    images: int = 0

    @property
    def check_tokens(self) -> int:
        """What its check counts as in a batch: the whole prompt."""
        return PREFIX_TOKENS + self.computed_tokens

    @property
    def prompt_guard_tokens(self) -> int:
        """What its check of Prompt Guard counts as in a batch."""
        return _PROMPT_GUARD_AROUND + self.tokens

    @property
    def computed_tokens(self) -> int:
        """Tokens behind the cached prefix."""
        return _AROUND_MESSAGE + self.tokens + self.images * IMAGE_TOKENS

    @property
    def operations(self) -> float:
        """Floating-point operations that cannot be avoided."""
        own = self.computed_tokens
        keys = PREFIX_TOKENS * own + own * (own + 1) / 2
        return own * A_TOKEN + keys * A_KEY + 2 * AN_ANSWER + self.images * _IMAGE_TILES * A_TILE


@dataclass(frozen=True, slots=True)
class Device:
    """A card with the engine on it."""

    name: str
    operations_per_second: float  # that the engine reaches: the matmul rate times its share of it
    batch_start_seconds: float = 0.004  # of a batch besides its operations: launches, reading the weights

    def seconds(self, batch: Sequence[Message]) -> float:
        """How long a batch of Llama Guard takes."""
        return self.batch_start_seconds + sum(message.operations for message in batch) / self.operations_per_second

    def prompt_guard_seconds(self, batch: Sequence[Message]) -> float:
        """How long a batch of Prompt Guard takes; its start as much as its layers are."""
        tokens = sum(message.prompt_guard_tokens for message in batch)
        start = self.batch_start_seconds * _PROMPT_GUARD_LAYERS / _LAYERS
        return start + tokens * PROMPT_GUARD_A_TOKEN / self.operations_per_second
