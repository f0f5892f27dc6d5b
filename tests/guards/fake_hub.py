"""A model hub on the loopback interface: as much of its HTTP API as downloading needs, with faults on demand."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from tests.http_server import QuietHandler, serving

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
MODEL: Final = "acme/guard"
_API: Final = re.compile(r"/api/models/(?P<model>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/?]+)")
_RESOLVE: Final = re.compile(r"/(?P<model>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class FakeHub:
    """One repository, MODEL at COMMIT (its `main`), and what is wrong with it."""

    files: dict[str, bytes]
    url: str = ""
    gated_without: str | None = None  # the token that reads a gated repository
    cut: str | None = None  # this file breaks off in the middle
    down: bool = False
    requests: list[str] = field(default_factory=list)  # method and path, in the order of arrival
    tokens: set[str | None] = field(default_factory=set)

    @property
    def fetched(self) -> set[str]:
        """The files whose content was sent."""
        found = (
            _RESOLVE.fullmatch(request.removeprefix("GET ")) for request in self.requests if request.startswith("GET")
        )
        return {match["file"] for match in found if match}


@contextmanager
def fake_hub(files: dict[str, bytes]) -> Iterator[FakeHub]:
    """A running hub with these files."""
    hub = FakeHub(files)

    class Handler(_Handler):
        state = hub

    with serving(Handler) as hub.url:
        yield hub


class _Handler(QuietHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append(f"{self.command} {path}")
        self.state.tokens.add(self.headers.get("authorization"))
        match = _API.fullmatch(path) or _RESOLVE.fullmatch(path)
        if self.state.down:
            self._send(503, b"{}")
        elif match is None:
            self._send(404, b"{}")
        elif match["model"] != MODEL:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif match["revision"] not in (COMMIT, "main"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif match.re is _API:
            self._send(200, json.dumps(self._tree() if match["what"] == "tree" else self._info()).encode())
        else:
            self._resolve(match["file"])

    def _info(self) -> object:
        return {"id": MODEL, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.state.files]}

    def _tree(self) -> object:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in self.state.files.items()
        ]

    def _resolve(self, name: str) -> None:
        content = self.state.files.get(name)
        allowed = (
            self.state.gated_without is None
            or self.headers.get("authorization") == f"Bearer {self.state.gated_without}"
        )
        if not allowed:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"})
        elif content is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self._send_file(name, content)

    def _send_file(self, name: str, content: bytes) -> None:
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if self.command == "GET" and self.state.cut == name:
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        if wanted:
            start = int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers)
        else:
            self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            **(headers or {}),
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
