"""Image fetcher: files behind https URLs, from allowed hosts at public addresses only."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn
from urllib.parse import SplitResult, urlsplit

import httpx

from worker.contract.errors import Stage, Unjudgeable

_PORT: Final = 443
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in disguise, and `is_global` says yes

Resolve = Callable[[str], Sequence[str]]


def system_resolve(host: str) -> Sequence[str]:
    """The host's addresses by the system's resolver. Raises OSError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)]


class ImageFetcher:
    """Fetches from a list of hosts, https on port 443, bounded in bytes and seconds. Thread-safe.

    The host is resolved once, every address must be public, and the connection goes to the address that was looked at:
    a name that changes its address in between (DNS rebinding) gains nothing. Redirects are not followed.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        seconds: float = 10.0,
        *,
        resolve: Resolve = system_resolve,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`seconds` bounds a whole fetch, resolving included. `resolve` and `transport` are for tests."""
        self._hosts = frozenset(host.strip().lower().rstrip(".") for host in hosts)
        self._seconds, self._resolve = seconds, resolve
        self._client = httpx.Client(
            transport=transport,
            timeout=seconds,
            follow_redirects=False,
            trust_env=False,  # a proxy would resolve the name again
            limits=httpx.Limits(max_keepalive_connections=0),  # hosts that share an address share no TLS connection
        )
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="image-fetch")

    def fetch(self, url: str, most_bytes: int) -> bytes:
        """The file. Raises Unjudgeable: `image_url_not_allowed`, `image_too_large`, `image_fetch_failed`."""
        host, target = self._allowed(url)
        deadline = time.monotonic() + self._seconds
        # In a thread of its own: a resolver, or a server that sends a byte now and then, has no other deadline.
        job = self._threads.submit(self._get, host, target, most_bytes, deadline)
        try:
            return job.result(timeout=self._seconds)
        except TimeoutError:
            job.cancel()
            _fail(f"the host did not deliver an image within {self._seconds:g} s")

    def close(self) -> None:
        """Ends connections and threads, without waiting for fetches that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _allowed(self, url: str) -> tuple[str, str]:
        """Host, path and query of a URL that may be fetched."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            _not_allowed("an image URL cannot be read")
        if parts.scheme.lower() != "https" or port not in (None, _PORT) or "@" in parts.netloc:
            _not_allowed("an image URL is not plain https on port 443")
        if host not in self._hosts:
            _not_allowed("an image URL's host is not in the allow list")
        return host, _target(parts)

    def _get(self, host: str, target: str, most_bytes: int, deadline: float) -> bytes:
        try:
            address = self._public_address(host)
            shown = f"[{address}]" if ":" in address else address
            # The certificate is checked against the name in `sni_hostname`, not against the address.
            request = self._client.build_request(
                "GET",
                f"https://{shown}{target}",
                headers={"Host": host, "Accept": "image/*", "Accept-Encoding": "identity"},
                extensions={"sni_hostname": host},
            )
            response = self._client.send(request, stream=True)
            try:
                return _read(response, most_bytes, deadline)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            _fail(f"an image URL could not be fetched ({type(error).__name__})")

    def _public_address(self, host: str) -> str:
        addresses = self._resolve(host)
        if not addresses:
            _fail("an image URL's host has no address")
        if not all(is_public(address) for address in addresses):
            _not_allowed("an image URL's host has an address that is not public")
        return addresses[0]


def is_public(address: str) -> bool:
    """True for an address of the public internet, also behind IPv4-in-IPv6 notations."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # a scope such as fe80::1%eth0, or no address
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id or ip.is_site_local:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if not inner and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _read(response: httpx.Response, most_bytes: int, deadline: float) -> bytes:
    if response.status_code != httpx.codes.OK:
        _fail(f"an image URL answered with status {response.status_code}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        _fail("an image URL answered with a content encoding that was not asked for")
    file = bytearray()
    for chunk in response.iter_raw():  # as it comes: a chunk size would wait for slow bytes past the deadline
        file += chunk
        if len(file) > most_bytes:
            raise Unjudgeable("image_too_large", f"an image file is larger than {most_bytes} bytes", Stage.PREPARE)
        if time.monotonic() > deadline:
            _fail("an image URL's host is too slow")
    return bytes(file)


def _not_allowed(message: str) -> NoReturn:
    raise Unjudgeable("image_url_not_allowed", message, Stage.PREPARE) from None


def _fail(message: str) -> NoReturn:
    raise Unjudgeable("image_fetch_failed", message, Stage.PREPARE) from None
