"""Images: what is read, how, and what is refused."""

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from worker.contract.chat_event import ImagePart, ImageUrl, ImageUrlPart
from worker.contract.errors import Stage, Unjudgeable
from worker.guards.llama_guard.images import ImageLimits, ImageReader, decode_image

LIMITS = ImageLimits()
RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def b64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def png(width: int, height: int, rows: bytes) -> bytes:
    """A 1-bit PNG with a header and nothing to hold it to."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def near(pixel: Any, wanted: tuple[int, int, int], by: int = 12) -> bool:
    return all(abs(one - other) <= by for one, other in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_the_formats_of_chats_are_read(kind: str) -> None:
    image = decode_image(encoded(Image.new("RGB", (20, 10), RED), kind), LIMITS)
    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert near(image.getpixel((5, 5)), RED)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert decode_image(encoded(clear), LIMITS).getpixel((0, 0)) == WHITE
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decode_image(encoded(palette), LIMITS).getpixel((0, 0)) == RED
    assert decode_image(encoded(palette, transparency=1), LIMITS).getpixel((0, 0)) == WHITE
    assert decode_image(encoded(Image.new("LA", (4, 4), (9, 0))), LIMITS).getpixel((0, 0)) == WHITE


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    image = decode_image(encoded(Image.new("I;16", (4, 4), 32896)), LIMITS)
    assert image.getpixel((0, 0)) == (128, 128, 128)


def test_cmyk_is_read() -> None:
    image = decode_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), LIMITS)
    assert near(image.getpixel((4, 4)), RED)


def test_exif_turns_the_picture() -> None:
    left_red = Image.new("RGB", (32, 16), WHITE)
    left_red.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image = decode_image(encoded(left_red, "JPEG", exif=exif, quality=95), LIMITS)
    assert image.size == (16, 32)
    assert near(image.getpixel((8, 4)), RED)
    assert near(image.getpixel((8, 28)), WHITE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter() -> None:
    file = encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert decode_image(file, LIMITS).size == (8, 8)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, WHITE)]
    image = decode_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), LIMITS)
    assert near(image.getpixel((8, 8)), RED)


def refusal(part: ImagePart | ImageUrlPart, limits: ImageLimits = LIMITS) -> Unjudgeable:
    with pytest.raises(Unjudgeable) as caught:
        ImageReader(limits).read(part)
    assert caught.value.stage is Stage.PREPARE
    return caught.value


NOISE = Image.effect_noise((64, 64), 90)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"GIF89a",
        b"not an image",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded(NOISE)[:1500],
        encoded(NOISE, "JPEG")[:700],
        encoded(NOISE, "WEBP", lossless=True)[:900],
        encoded(NOISE, "TIFF"),
        encoded(NOISE, "PPM"),
        png(0, 5, b""),
    ],
    ids=["empty", "header", "text", "fake", "svg", "cut-png", "cut-jpeg", "cut-webp", "tiff", "ppm", "no-pixels"],
)
def test_what_cannot_be_decoded_is_unreadable(file: bytes) -> None:
    assert refusal(ImagePart(type="image", data=b64(file))).error_type == "image_unreadable"


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000), (4001, 4000)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
    cause = refusal(ImagePart(type="image", data=b64(png(*size, b"\0" * 1000))))
    assert (cause.error_type, cause.message) == ("image_too_large", "an image has more than 16000000 pixels")


def test_too_many_bytes_are_refused_before_decoding() -> None:
    small = ImageLimits(bytes=1000)
    assert refusal(ImagePart(type="image", data=b64(encoded(NOISE))), small).error_type == "image_too_large"
    assert refusal(ImagePart(type="image", data="A" * 1_000_000), small).error_type == "image_too_large"


@pytest.mark.parametrize(
    "data",
    ["!!!", "a", "data:image/png,abc", "data:image/png;base64", "data:image/png;base64,@", "é", "data:" + "x" * 999],
)
def test_what_is_not_base64_is_said_without_the_content(data: str) -> None:
    cause = refusal(ImagePart(type="image", data=data))
    assert cause.error_type == "image_not_base64"
    assert len(data) < 4 or data not in cause.message


def test_every_place_of_the_data_is_read() -> None:
    text = b64(encoded(Image.new("RGB", (3, 3), RED)))
    url = "data:image/png;base64," + text
    broken = "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    for part in (
        ImagePart(type="image", data=text),
        ImagePart(type="image", data=broken),
        ImagePart(type="image", data=text.rstrip("=")),
        ImagePart(type="image", data=url),
        ImagePart(type="image", url=url),
        ImageUrlPart(type="image_url", image_url=ImageUrl(url="DATA:;BASE64," + text)),
    ):
        assert ImageReader(LIMITS).read(part).size == (3, 3)


def test_urls_are_not_fetched_by_default() -> None:
    for url in ("https://images.example/a.png", "http://images.example/a.png", "file:///etc/passwd", ""):
        assert refusal(ImagePart(type="image", url=url)).error_type == "image_url_not_allowed"


def test_urls_go_to_the_fetcher_with_the_limit() -> None:
    class Fake:
        def fetch(self, url: str, most_bytes: int) -> bytes:
            assert (url, most_bytes) == ("https://images.example/a.png", LIMITS.bytes)
            return encoded(Image.new("RGB", (3, 3)))

    image = ImageReader(LIMITS, Fake()).read(ImagePart(type="image", url="https://images.example/a.png"))
    assert image.size == (3, 3)


def test_very_thin_pictures_are_read() -> None:
    assert decode_image(encoded(Image.new("1", (1, 20_000))), LIMITS).size == (1, 20_000)
