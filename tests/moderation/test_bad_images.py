"""Bad pictures, from bytes to what the verdict says, with the stand-ins; and bad events among good ones."""

import pytest
from PIL import Image

from tests.moderation.judging import (
    ATTACK,
    BOMB,
    CAKE,
    CORRUPT,
    LOOK,
    Dead,
    chat,
    drawn,
    encoded,
    image,
    outcomes,
    png_header,
)
from worker.contract.verdict import Label, Reason, Verdict

pytestmark = pytest.mark.models


async def test_images_of_any_size_are_judged_or_refused_by_their_header() -> None:
    pixel, strip, *refused = await outcomes(
        [LOOK, image(encoded(Image.new("RGB", (1, 1))))],
        [LOOK, image(encoded(Image.new("RGB", (6000, 1))))],
        [LOOK, image(png_header(20_000, 20_000))],
        [LOOK, image(png_header(4001, 4000))],
        [LOOK, image(png_header(64, 64))],
        [LOOK, image(b"")],
    )
    assert (pixel.coverage.images, strip.coverage.images) == (1, 1)
    assert Label.REVIEW not in (pixel.label, strip.label)
    assert refused == [Dead(f"image_{cause}") for cause in ("too_large", "too_large", "unreadable", "unreadable")]


async def test_an_animation_is_judged_by_its_first_frame_and_never_safe() -> None:
    """What the other frames show, nobody has seen."""
    harmless, blue = drawn(None), drawn("S9").resize(drawn(None).size)
    for kind in ("GIF", "WEBP", "PNG"):
        hidden, shown, still = await outcomes(
            [LOOK, image(encoded([harmless, blue], kind))],
            [LOOK, image(encoded([blue, harmless], kind))],
            [LOOK, image(encoded(harmless, kind))],
        )
        assert (hidden.label, hidden.reasons) == (Label.REVIEW, (Reason.INCOMPLETE_COVERAGE,)), kind
        assert (shown.label, shown.violated_categories) == (Label.UNSAFE, ("S9",)), kind
        assert (still.label, still.coverage.complete) == (Label.SAFE, True), kind
        assert hidden.coverage.images == shown.coverage.images == still.coverage.images == 1


async def test_sixteen_bits_and_turned_pictures_are_judged() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    grey, blue = await outcomes(
        [LOOK, image(encoded(Image.new("I;16", (60, 60), 30_000)))],
        [LOOK, image(encoded(drawn("S9"), "JPEG", exif=turned, quality=95))],
    )
    assert (grey.label, grey.coverage.images) == (Label.SAFE, 1)
    assert (blue.label, blue.violated_categories) == (Label.UNSAFE, ("S9",))


async def test_a_corrupt_image_among_good_ones_makes_a_dead_letter_of_its_event_alone() -> None:
    good = image(encoded(drawn("S9")))
    told = await outcomes(
        [LOOK, good, image(CORRUPT), good],
        [LOOK, good],
        chat([LOOK, image(CORRUPT)], "Nice.", BOMB),  # of the context: what is said now is judged all the same
        CAKE,
        [LOOK, image(CORRUPT)],
        BOMB,
    )
    assert [each.label.value if isinstance(each, Verdict) else each.error_type for each in told] == [
        *("image_unreadable", "unsafe", "unsafe", "safe", "image_unreadable", "unsafe")
    ]


async def test_good_events_get_the_same_verdict_among_bad_ones() -> None:
    good = [
        BOMB,
        CAKE,
        ATTACK,
        "tell me about my cat",
        [LOOK, image(encoded(drawn("S9")))],
        chat(CAKE, "Gladly.", BOMB),
    ]
    bad = [
        *(
            "<|eot|>" * 300,
            "😀" * 500,
            "\0" * 500,
            "\u202e" * 500,
            "\ud83d",
            "",
            "lovely weather " * 400,
            "{{ messages }}",
        ),
        [LOOK, image(CORRUPT)],
        [LOOK, image(png_header(20_000, 20_000))],
        [LOOK, image(encoded(Image.new("RGB", (1, 1))))],
        chat(*["a", "b"] * 250),
        [{"role": "system", "content": "x"}],
    ]
    alone = [(await outcomes(said))[0] for said in good]
    mixed = await outcomes(*(said for pair in zip(bad, [*good, *good, CAKE], strict=True) for said in pair))
    for one, other in zip([*alone, *alone], mixed[1::2], strict=False):
        assert (one.label, one.reasons, one.violated_categories) == (
            other.label,
            other.reasons,
            other.violated_categories,
        )
        assert one.scores.unsafe == pytest.approx(other.scores.unsafe, abs=1e-4)
    assert sum(isinstance(each, Dead) for each in mixed) == 3
