"""Images: from an image part of a message to an RGB picture, within limits."""

import base64
import binascii
import contextlib
import io
import re
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from PIL import Image, ImageOps

from worker.contract.chat_event import ImagePart, ImageUrlPart
from worker.contract.errors import Stage, Unjudgeable
from worker.settings import MiB

# What chats hold. Decoders are attack surface: no others are ever tried.
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_ANIMATIONS: Final = ("GIF", "WEBP", "PNG")  # further pictures in a JPEG are previews and gain maps
_ANIMATED: Final = "moderation_animated"

_DATA_URL: Final = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_WHITESPACE: Final = str.maketrans("", "", " \t\r\n")


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may be at most."""

    bytes: int = 8 * MiB  # of the file
    pixels: int = 16_000_000  # known before anything is decoded


class Fetcher(Protocol):
    """Gets the file behind an https URL."""

    def fetch(self, url: str, most_bytes: int) -> bytes:
        """The file. Raises Unjudgeable: `image_url_not_allowed`, `image_too_large`, `image_fetch_failed`."""


class ImageReader:
    """Reads image parts. Thread-safe."""

    def __init__(self, limits: ImageLimits, fetcher: Fetcher | None = None) -> None:
        """Without a `fetcher`, https URLs are not allowed."""
        self._limits, self._fetcher = limits, fetcher

    def read(self, part: ImagePart | ImageUrlPart) -> Image.Image:
        """The picture, RGB, upright, transparency on white; of an animation the first frame (see `is_whole`).

        Raises Unjudgeable: `image_not_base64`, `image_unreadable`, `image_too_large`, `image_url_not_allowed`,
        `image_fetch_failed`.
        """
        return decode_image(self._file(part), self._limits)

    def _file(self, part: ImagePart | ImageUrlPart) -> bytes:
        if isinstance(part, ImagePart) and part.data is not None:
            return self._from_base64(part.data)
        url = (part.url if isinstance(part, ImagePart) else part.image_url.url) or ""
        if url[:5].lower() == "data:":
            return self._from_base64(url)
        if self._fetcher is None:
            _refuse("image_url_not_allowed", "image URLs are not fetched: no host is allowed in the settings")
        return self._fetcher.fetch(url, self._limits.bytes)

    def _from_base64(self, text: str) -> bytes:
        header = _DATA_URL.match(text)
        if header is None and text[:5].lower() == "data:":
            _refuse("image_not_base64", "an image's data: URL has no comma after its header")
        if header is not None and not header[0].lower().endswith(";base64,"):
            _refuse("image_not_base64", "an image's data: URL is not in base64")
        start = header.end() if header else 0
        if (len(text) - start) * 3 // 4 > self._limits.bytes + self._limits.bytes // 16:  # line breaks are forgiven
            self._too_many_bytes()
        body = text[start:].translate(_WHITESPACE).rstrip("=")
        try:
            file = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except (binascii.Error, ValueError):
            _refuse("image_not_base64", "an image's data is not base64")
        if len(file) > self._limits.bytes:
            self._too_many_bytes()
        return file

    def _too_many_bytes(self) -> NoReturn:
        _refuse("image_too_large", f"an image file is larger than {self._limits.bytes} bytes")


def decode_image(file: bytes, limits: ImageLimits) -> Image.Image:
    """An image file as an RGB picture. Raises Unjudgeable: `image_too_large`, `image_unreadable`."""
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            _check_size(image, limits)
            animated = image.format in _ANIMATIONS and getattr(image, "is_animated", False)
            image.load()
            picture = _upright_rgb(image)
            picture.info[_ANIMATED] = animated
            return picture
    except Unjudgeable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _too_many_pixels(limits)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on hostile files: OSError, SyntaxError, struct.error, ...
        kind = type(error).__name__
        known = ", ".join(FORMATS)
        _refuse("image_unreadable", f"an image cannot be decoded ({kind}); readable are {known}")


def is_whole(picture: Image.Image) -> bool:
    """Whether a picture of `decode_image` shows all of its file; False for an animation's first frame."""
    return not picture.info.get(_ANIMATED, False)


def _check_size(image: Image.Image, limits: ImageLimits) -> None:
    if image.width * image.height > limits.pixels:
        _too_many_pixels(limits)
    if not image.width or not image.height:
        _refuse("image_unreadable", "an image has no pixels")


def _upright_rgb(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # broken EXIF data is no reason not to look at the picture
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: `convert` would clip them to white
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layered).convert("RGB")


def _too_many_pixels(limits: ImageLimits) -> NoReturn:
    _refuse("image_too_large", f"an image has more than {limits.pixels} pixels")


def _refuse(error_type: str, message: str) -> NoReturn:
    raise Unjudgeable(error_type, message, Stage.PREPARE) from None
