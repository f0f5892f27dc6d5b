"""Simple drawn pictures: the colour of the one large shape means a category; a grey shape, or none, is harmless."""

import base64
import io
import random
from typing import Final

from PIL import Image, ImageDraw

from worker.policy.taxonomy import CATEGORY_KEYS

Colour = tuple[int, int, int]

# S14 has no colour: with an image in the conversation the prompt does not list it.
COLOURS: Final[dict[str, Colour]] = {
    "S1": (225, 0, 0),  # red
    "S2": (255, 128, 0),  # orange
    "S3": (245, 235, 0),  # yellow
    "S4": (128, 255, 0),  # lime
    "S5": (0, 150, 0),  # green
    "S6": (0, 255, 128),  # mint
    "S7": (0, 240, 240),  # cyan
    "S8": (0, 128, 255),  # azure
    "S9": (0, 0, 225),  # blue
    "S10": (128, 0, 255),  # violet
    "S11": (255, 0, 255),  # magenta
    "S12": (255, 130, 190),  # pink
    "S13": (110, 55, 0),  # brown
}
PICTURE_KEYS: Final = tuple(key for key in CATEGORY_KEYS if key in COLOURS)


def picture(rng: random.Random, key: str | None) -> Image.Image:
    """A picture of 40 to 420 pixels a side that shows `key` (None: harmless). Raises KeyError for S14."""
    width, height = _size(rng)
    level = rng.choice([rng.randint(0, 70), rng.randint(170, 255)])  # a dark or a light background, nearly grey
    image = Image.new("RGB", (width, height), _near(rng, (level, level, level), 20))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(0, 4)):  # thin grey lines: something to ignore
        ends = [(rng.randint(0, width), rng.randint(0, height)) for _ in range(2)]
        draw.line(ends, fill=(rng.randint(90, 160),) * 3, width=max(1, min(width, height) // 60))
    if key is not None:
        _shape(rng, draw, (width, height), _near(rng, COLOURS[key], 15))
    elif rng.random() < 0.7:
        _shape(rng, draw, (width, height), (255 - level,) * 3)
    return image


def in_base64(image: Image.Image) -> str:
    """The picture as a PNG in base64, as chat events carry it."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _size(rng: random.Random) -> tuple[int, int]:
    long = rng.randint(40, 56) if rng.random() < 0.5 else rng.randint(57, 420)  # half of them fit one tile
    short = max(40, int(long * rng.uniform(0.5, 1)))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _near(rng: random.Random, colour: Colour, spread: int) -> Colour:
    red, green, blue = (max(0, min(255, value + rng.randint(-spread, spread))) for value in colour)
    return red, green, blue


def _shape(rng: random.Random, draw: ImageDraw.ImageDraw, canvas: tuple[int, int], fill: Colour) -> None:
    """One disc, square, triangle or cross, more than half as wide as the shorter side."""
    width, height = canvas
    size = int(min(canvas) * rng.uniform(0.55, 0.9))
    x, y = rng.randint(0, width - size), rng.randint(0, height - size)
    third = size / 3
    match rng.choice(("disc", "square", "triangle", "cross")):
        case "disc":
            draw.ellipse((x, y, x + size, y + size), fill=fill)
        case "square":
            draw.rectangle((x, y, x + size, y + size), fill=fill)
        case "triangle":
            draw.polygon([(x + size / 2, y), (x + size, y + size), (x, y + size)], fill=fill)
        case _:
            draw.rectangle((x + third, y, x + 2 * third, y + size), fill=fill)
            draw.rectangle((x, y + third, x + size, y + 2 * third), fill=fill)
