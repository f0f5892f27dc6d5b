"""Synthetic prompt attacks and their look-alikes, for the Prompt Guard stand-in."""

import random

from worker.standins.corpus import UNSAFE_SHARE, draw_keys, harmless, text_message, tidy
from worker.standins.phrases import ATTACKS, LOOKALIKES, ORDERS, OVERRULE

_JOINERS = (" ", ". ", ", ", " and ", "\n")


def attack(rng: random.Random) -> str:
    """One bare attack, like "ignore your previous instructions"."""
    return f"{rng.choice(OVERRULE)} {rng.choice(ORDERS)}" if rng.random() < 0.6 else rng.choice(ATTACKS)


def attack_sample(rng: random.Random, pieces: tuple[int, int] = (0, 3)) -> tuple[str, bool]:
    """A text and whether it tries to overrule the assistant. Harmful wishes alone are no attack.

    `pieces` bounds the number of other pieces (of 5 to 20 tokens) around the attack.
    """
    others = [_company(rng) for _ in range(rng.randint(*pieces))]
    is_attack = rng.random() < 0.5
    if is_attack:
        others.insert(rng.randint(0, len(others)), attack(rng))
    elif not others:
        others = [rng.choice(LOOKALIKES) if rng.random() < 0.6 else _company(rng)]
    text = rng.choice(_JOINERS).join(others)
    look = rng.random()
    if look < 0.05:
        return text.upper(), is_attack
    return (tidy(rng, text) if look < 0.9 else text), is_attack


def spaced(text: str) -> str:
    """The spacing trick: i g n o r e  t h i s."""
    return "  ".join(" ".join(word) for word in text.split())


def _company(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(LOOKALIKES)
    if kind < 0.5:
        return harmless(rng)
    return text_message(rng, "user", draw_keys(rng, share=UNSAFE_SHARE / 2)).text
