"""The page's one file, and the headers that keep it to itself."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
JSON_HEADERS: Final = {**_SAFE, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}


@cache
def page() -> str:
    """The text of the page."""
    return (files("worker.stream.status") / "page.html").read_text(encoding="utf-8")


@cache
def page_headers() -> dict[str, str]:
    """Its headers: nothing runs or is shown but what the file has, and it may talk to nobody but this worker."""
    policy = {
        "default-src": "'none'",
        "script-src": _hash_of("script"),
        "style-src": _hash_of("style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {**_SAFE, "Content-Security-Policy": "; ".join(f"{name} {source}" for name, source in policy.items())}


def _hash_of(element: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
