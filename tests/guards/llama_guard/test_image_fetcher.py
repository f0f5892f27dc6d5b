"""Image fetcher: allowed hosts, public addresses, bounds."""

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from worker.contract.errors import Stage, Unjudgeable
from worker.guards.llama_guard.image_fetcher import ImageFetcher, is_public

URL = "https://images.example/a.png?size=2"
PUBLIC = "93.184.216.34"

Handler = Callable[[httpx.Request], httpx.Response]


def fetcher(handler: Handler, *addresses: str, seconds: float = 5.0) -> ImageFetcher:
    transport = httpx.MockTransport(handler)
    return ImageFetcher(
        ["Images.Example", PUBLIC], seconds, resolve=lambda _: addresses or [PUBLIC], transport=transport
    )


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"connected to {request.url}")


def refusal(one: ImageFetcher, url: str = URL, most: int = 100) -> str:
    with pytest.raises(Unjudgeable) as caught:
        one.fetch(url, most)
    assert caught.value.stage is Stage.PREPARE
    assert "images.example" not in caught.value.message
    one.close()
    return caught.value.error_type


def test_the_connection_goes_to_the_address_that_was_vetted() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == f"https://{PUBLIC}/a.png?size=2"
        assert request.headers["Host"] == "images.example"
        assert request.extensions["sni_hostname"] == "images.example"
        return httpx.Response(200, stream=httpx.ByteStream(b"file"))

    for url in (URL, URL.upper().replace("A.PNG?SIZE", "a.png?size"), URL.replace(".example", ".example.:443")):
        assert fetcher(answer).fetch(url, 4) == b"file"


def test_version_6_addresses_are_connected_to() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "2606:2800:220:1::1"
        return httpx.Response(200, stream=httpx.ByteStream(b"file"))

    assert fetcher(answer, "2606:2800:220:1::1").fetch(URL, 4) == b"file"


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/a.png",
        "https://other.example/a.png",
        "https://images.example.evil.example/a.png",
        "https://images.example@evil.example/a.png",
        "https://evil@images.example/a.png",
        "https://images.example:8443/a.png",
        "https://images.example:99999/a.png",
        "https://[::1/a.png",
        "https://",
        "ftp://images.example/a.png",
        "file:///etc/passwd",
        "",
    ],
)
def test_other_urls_are_not_allowed(url: str) -> None:
    assert refusal(fetcher(never), url) == "image_url_not_allowed"


PRIVATE = (
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2001:0:7f00:1:0:0:80ff:fffe",
    "nonsense",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(address)
    assert refusal(fetcher(never, address)) == "image_url_not_allowed"
    assert refusal(fetcher(never, PUBLIC, address)) == "image_url_not_allowed"


def test_public_addresses_are_public() -> None:
    assert all(map(is_public, (PUBLIC, "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808")))


def test_redirects_are_not_followed() -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "https://169.254.169.254/"})

    assert refusal(fetcher(redirect)) == "image_fetch_failed"


@pytest.mark.parametrize("status", [204, 206, 404, 500])
def test_only_a_plain_ok_counts(status: int) -> None:
    assert refusal(fetcher(lambda _: httpx.Response(status))) == "image_fetch_failed"


def test_a_file_is_bounded_while_it_comes() -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1000

    assert refusal(fetcher(lambda _: httpx.Response(200, content=endless())), most=5000) == "image_too_large"
    assert sent < 200


def test_no_content_encoding_is_taken() -> None:
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"x"))
    assert refusal(fetcher(lambda _: answer)) == "image_fetch_failed"


def test_a_slow_host_is_given_up() -> None:
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b"x"

    released, running = threading.Event(), threading.active_count()
    assert refusal(fetcher(lambda _: httpx.Response(200, content=drip()), seconds=0.2)) == "image_fetch_failed"

    def hang(request: httpx.Request) -> httpx.Response:
        released.wait(60)
        return httpx.Response(200, stream=httpx.ByteStream(b"file"))

    assert refusal(fetcher(hang, seconds=0.2)) == "image_fetch_failed"
    released.set()  # only now: nobody waited for it
    given_up = time.monotonic() + 60
    while threading.active_count() > running:  # no thread is held for ever
        assert time.monotonic() < given_up
        time.sleep(0.01)


def test_a_broken_connection_or_name_is_a_failed_fetch() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    def unknown(host: str) -> list[str]:
        raise OSError("unknown host")

    assert refusal(fetcher(broken)) == "image_fetch_failed"
    assert refusal(ImageFetcher(["images.example"], resolve=unknown)) == "image_fetch_failed"
    assert refusal(ImageFetcher(["images.example"], resolve=lambda _: [])) == "image_fetch_failed"
