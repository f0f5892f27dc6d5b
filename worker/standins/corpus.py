"""The synthetic corpus: chat messages and conversations whose right verdict is known.

Everything is drawn from a `random.Random`: the same seed gives the same conversations. A message is unsafe because of
the phrases in its text or the coloured shapes in its pictures; only the last message of a conversation decides.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins import phrases
from worker.standins.phrases import PHRASES
from worker.standins.pictures import PICTURE_KEYS, in_base64, picture

Role = Literal["user", "assistant"]

UNSAFE_SHARE = 0.55
_REPEATED = "aehlox!?.=-_0 1😀"
_JOINERS = (" and ", " and ", ". ", ". ", ", also ", ", ", " ", "\n")


@dataclass
class Message:
    """One turn: what the processor gets, and what a perfect guard finds in it."""

    role: Role
    text: str
    images: list[Image.Image] = field(default_factory=list)
    found: list[tuple[str, str]] = field(default_factory=list)
    """(phrase, category key) of the text, in reading order."""
    seen: list[str | None] = field(default_factory=list)
    """The category key of each image; None: harmless."""

    @property
    def keys(self) -> frozenset[str]:
        """The violated category keys of this message alone."""
        return frozenset(key for _, key in self.found) | {key for key in self.seen if key}

    @property
    def label(self) -> Literal["safe", "unsafe"]:
        """The right label, should this be the last message."""
        return "unsafe" if self.keys else "safe"

    def as_chat(self) -> dict[str, Any]:
        """The message as typed parts for `apply_chat_template`; there is always a text part."""
        parts = [{"type": "image", "image": image} for image in self.images]
        return {"role": self.role, "content": [*parts, {"type": "text", "text": self.text}]}

    def as_sent(self) -> dict[str, Any]:
        """The message as a chat event has it: its text, or parts with its pictures before the text."""
        if not self.images:
            return {"role": self.role, "content": self.text}
        images = [{"type": "image", "data": in_base64(image)} for image in self.images]
        return {"role": self.role, "content": [*images, {"type": "text", "text": self.text}]}


def answer(message: Message) -> str:
    """What the guard must say when `message` is judged, after the blank line that it begins with."""
    keys = [key for key in CATEGORY_KEYS if key in message.keys]
    return "unsafe\n" + ",".join(keys) if keys else "safe"


def text_message(rng: random.Random, role: Role, keys: Sequence[str], *, filler: int | None = None) -> Message:
    """A message with one phrase of each key among `filler` harmless pieces of about 6 tokens (None: a few)."""
    found = [(rng.choice(PHRASES[key]), key) for key in keys]
    if filler is None:
        filler = rng.choice([0, 0, 1, 1, 2]) if found else rng.choice([1, 1, 1, 2])
    pieces = [f"{rng.choice(phrases.ASKS)} {phrase}" if rng.random() < 0.9 else phrase for phrase, _ in found]
    pieces += [harmless(rng) for _ in range(filler)]
    rng.shuffle(pieces)
    text = tidy(rng, rng.choice(_JOINERS).join(pieces))
    lowered = text.lower()
    return Message(role, text, found=sorted(found, key=lambda item: lowered.index(item[0].lower())))


def harmless(rng: random.Random) -> str:
    """A few words that no category fits: near misses, plain wishes, words in any order, odd strings."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(phrases.NEAR_MISSES)
    if kind < 0.42:
        return " ".join(rng.choices(phrases.WORDS, k=rng.randint(1, 8)))
    if kind < 0.47:
        return _odd(rng)
    return f"{rng.choice(phrases.VERBS)} {rng.choice(phrases.SUBJECTS)}"


def tidy(rng: random.Random, body: str) -> str:
    """The body with perhaps an opening, an ending, a full stop and capitals, as people write."""
    words = f"{rng.choice(phrases.OPENINGS)} {body} {rng.choice(phrases.ENDINGS)}".strip(" ")
    text = words + rng.choice(phrases.STOPS)
    if rng.random() < 0.5:
        return text
    return ". ".join(sentence[:1].upper() + sentence[1:] for sentence in text.split(". "))


def cut_window(rng: random.Random, message: Message) -> Message:
    """The message as a window of a longer text shows it: begun and ended anywhere, but not inside a phrase."""
    lowered = message.text.lower()
    begins = [lowered.index(phrase.lower()) for phrase, _ in message.found]
    ends = [begin + len(phrase) for begin, (phrase, _) in zip(begins, message.found, strict=True)]
    start = rng.randint(0, min([60, len(lowered) // 3, *begins]))
    stop = rng.randint(max([len(lowered) - 60, 2 * len(lowered) // 3, *ends]), len(lowered))
    return Message(message.role, message.text[start:stop], message.images, message.found, message.seen)


def picture_message(rng: random.Random, keys: Sequence[str | None]) -> Message:
    """A user's message with one picture for each key (None: a harmless one) and a text that decides nothing."""
    images = [picture(rng, key) for key in keys]
    return Message("user", rng.choice(phrases.LOOKS), images, seen=list(keys))


def conversation(
    rng: random.Random,
    role: Role = "user",
    *,
    keys: Sequence[str] | None = None,
    pictures: int = 0,
    earlier: int | None = None,
    filler: int | None = None,
) -> list[Message]:
    """Alternating turns that end with `role`; every turn is drawn alike, so that only the last can decide.

    `keys` are those of the last message's text (None: drawn), `filler` its harmless pieces. `pictures` stand in one
    user turn, mostly the last, and there mostly decide alone. `earlier` is the number of turns before the last pair
    or single message (0, 2, 4, ...; None: drawn, mostly 0).
    """
    if earlier is None:
        earlier = rng.choice([2, 2, 4]) if rng.random() < 0.2 else 0
    possible = PICTURE_KEYS if pictures else CATEGORY_KEYS  # S14 is not listed beside an image
    turns = earlier + (2 if role == "assistant" else 1)
    roles: list[Role] = ["user" if turn % 2 == 0 else "assistant" for turn in range(turns)]
    messages = [text_message(rng, each, draw_keys(rng, possible)) for each in roles[:-1]]
    last = draw_keys(rng, possible) if keys is None else list(keys)
    messages.append(text_message(rng, role, last, filler=filler))
    if pictures:
        _hang(rng, messages, pictures, neutral=keys is None and rng.random() < 0.85)
    return messages


def draw_keys(rng: random.Random, possible: Sequence[str] = CATEGORY_KEYS, share: float = UNSAFE_SHARE) -> list[str]:
    """No key, or one (60 %), two (30 %) or three (10 %) different ones."""
    if rng.random() >= share:
        return []
    return rng.sample(possible, rng.choices([1, 2, 3], [60, 30, 10])[0])


def _hang(rng: random.Random, messages: list[Message], count: int, *, neutral: bool) -> None:
    """Puts pictures into a user turn; `neutral` replaces its text, so that the pictures decide."""
    users = [at for at, message in enumerate(messages) if message.role == "user"]
    at = users[-1] if rng.random() < 0.8 else rng.choice(users)
    drawn = picture_message(rng, [rng.choice(PICTURE_KEYS) if rng.random() < 0.5 else None for _ in range(count)])
    if not neutral:
        drawn.text, drawn.found = messages[at].text, messages[at].found
    messages[at] = drawn


def noise(rng: random.Random) -> str:
    """A long harmless text that says nothing: one character over and over, or invented words; 10 to 250 tokens."""
    if rng.random() < 0.5:
        return rng.choice(_REPEATED) * rng.randint(20, 220)
    return " ".join(_odd(rng) for _ in range(rng.randint(5, 20)))[:400]


def _odd(rng: random.Random) -> str:
    """Numbers, identifiers, invented words, other scripts: what a guard must not take for anything."""
    invented = ["".join(rng.choices(phrases.SYLLABLES, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 5))]
    return rng.choice(
        (
            " ".join(invented),
            " ".join(invented).upper(),
            f"{rng.choice(phrases.WORDS)} {rng.randint(0, 100_000)}",
            f"{rng.getrandbits(64):x}",
            "".join(rng.choices("äöüéñçßøаеиоптこんちは你好😀🎉👍", k=rng.randint(1, 8))),
            rng.choice(_REPEATED) * rng.randint(1, 40),
        )
    )
