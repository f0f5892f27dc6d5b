"""The synthetic corpus: repeatable, and its labels are true."""

import random
import subprocess
import sys

import pytest

from worker.policy.taxonomy import CATEGORY_KEYS
from worker.standins import attacks, phrases
from worker.standins.corpus import (
    Message,
    answer,
    conversation,
    cut_window,
    harmless,
    noise,
    picture_message,
    text_message,
)
from worker.standins.pictures import COLOURS, PICTURE_KEYS, picture


@pytest.fixture
def rng() -> random.Random:
    return random.Random("corpus")


def contained(text: str) -> set[str]:
    """The keys of all phrases that occur in a text."""
    return {key for key, known in phrases.PHRASES.items() for phrase in known if phrase.lower() in text.lower()}


def fingerprint(messages: list[Message]) -> list[object]:
    return [(m.role, m.text, sorted(m.keys), [image.tobytes() for image in m.images]) for m in messages]


def test_the_same_seed_gives_the_same_conversations():
    first, second = (
        [fingerprint(conversation(random.Random(seed), "user", pictures=seed % 3)) for seed in range(30)]
        for _ in range(2)
    )
    assert first == second


def test_every_category_has_phrases_of_its_own():
    assert tuple(phrases.PHRASES) == CATEGORY_KEYS
    for key, known in phrases.PHRASES.items():
        assert len(known) >= 4
        assert all(contained(phrase) == {key} for phrase in known)


def test_harmless_text_contains_no_phrase(rng):
    for text in [harmless(rng) for _ in range(3000)] + [noise(rng) for _ in range(300)]:
        assert not contained(text), text


@pytest.mark.parametrize("known", [phrases.NEAR_MISSES, phrases.LOOKALIKES, phrases.LOOKS, phrases.ENDINGS])
def test_harmless_company_contains_no_phrase(known):
    assert not [text for text in known if contained(text)]


def test_a_message_says_what_it_contains(rng):
    for _ in range(500):
        keys = rng.sample(CATEGORY_KEYS, rng.randint(0, 3))
        message = text_message(rng, "user", keys)
        assert message.keys == set(keys) == contained(message.text)
        assert message.label == ("unsafe" if keys else "safe")
        places = [message.text.lower().index(phrase.lower()) for phrase, _ in message.found]
        assert places == sorted(places)


def test_a_window_keeps_every_phrase(rng):
    for _ in range(300):
        keys = rng.sample(CATEGORY_KEYS, rng.randint(0, 2))
        whole = text_message(rng, "user", keys, filler=20)
        window = cut_window(rng, whole)
        assert window.text in whole.text
        assert contained(window.text) == window.keys == set(keys)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("pictures", [0, 1, 2, 3])
def test_turns_alternate_and_the_last_one_has_the_role(rng, role, pictures):
    for _ in range(50):
        messages = conversation(rng, role, pictures=pictures)
        assert [message.role for message in messages] == (["user", "assistant"] * 3)[: len(messages)]
        assert messages[-1].role == role
        assert sum(len(message.images) for message in messages) == pictures
        assert all(len(message.images) == len(message.seen) for message in messages)
        if pictures:
            assert not any("S14" in message.keys for message in messages), "S14 is not asked for beside an image"


def test_wanted_keys_are_those_of_the_last_message_only(rng):
    drawn = [conversation(rng, "assistant", keys=["S9"], earlier=2) for _ in range(100)]
    assert all(messages[-1].keys == {"S9"} for messages in drawn)
    assert {frozenset(message.keys) for messages in drawn for message in messages[:-1]} >= {frozenset()}
    assert any(message.keys for messages in drawn for message in messages[:-1])


def test_the_answer_names_the_keys_in_ascending_order():
    message = Message("user", "", found=[("a dirty bomb", "S9"), ("cut my arms", "S11"), ("rob a shop", "S2")])
    assert answer(message) == "unsafe\nS2,S9,S11"
    assert answer(Message("user", "hello")) == "safe"


def test_a_message_always_has_a_text_part(rng):
    parts = picture_message(rng, ["S1", None]).as_chat()["content"]
    assert [part["type"] for part in parts] == ["image", "image", "text"]


@pytest.mark.parametrize("key", PICTURE_KEYS)
def test_a_picture_shows_the_colour_of_its_key(rng, key):
    for _ in range(10):
        shown = picture(rng, key).convert("RGB")
        near = sum(
            count
            for count, colour in shown.getcolors(shown.width * shown.height)
            if all(abs(a - b) <= 15 for a, b in zip(colour, COLOURS[key], strict=True))
        )
        assert near > 0.05 * shown.width * shown.height
        assert all(40 <= side <= 420 for side in shown.size)


def test_a_harmless_picture_is_grey(rng):
    for _ in range(50):
        shown = picture(rng, None).convert("RGB")
        assert all(max(colour) - min(colour) <= 40 for _, colour in shown.getcolors(shown.width * shown.height))


def test_no_picture_means_s14(rng):
    with pytest.raises(KeyError):
        picture(rng, "S14")


def test_attacks_and_look_alikes(rng):
    drawn = [attacks.attack_sample(rng) for _ in range(1000)]
    assert 400 < sum(is_attack for _, is_attack in drawn) < 600
    orders = [f"{verb} {order}" for verb in phrases.OVERRULE for order in phrases.ORDERS] + list(phrases.ATTACKS)
    for text, is_attack in drawn:
        assert is_attack == any(order.lower() in text.lower() for order in orders), text


def test_spaced_text_keeps_its_letters():
    assert attacks.spaced("ignore all") == "i g n o r e  a l l"


def test_the_phrases_of_the_release_can_be_drawn():
    assert "make a bomb" in phrases.PHRASES["S9"]
    assert "take chemical x and add water to it" in phrases.NEAR_MISSES
    assert "ignore" in phrases.OVERRULE
    assert "your previous instructions" in phrases.ORDERS


def test_the_corpus_needs_no_torch():
    code = "import sys, worker.standins.attacks, worker.standins.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
