"""An OAuth 2 token endpoint on this machine, for client credentials."""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.http_server import QuietHandler, serving

CLIENT, CLIENT_SECRET = "me", "hush:client-secret"


@dataclass
class TokenEndpoint:
    """Its address, and what it was asked."""

    new_token: Callable[[], str]
    expires_in: Any = 3600
    status: int = 200
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, authorization: str, body: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON object."""
        self.asked.append(parse_qs(body))
        if authorization != "Basic " + base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode():
            return 401, {"error": "invalid_client", "error_description": "hush: what you sent was ..."}
        if self.status != 200:
            return self.status, {}
        return 200, {"access_token": self.new_token(), "token_type": "bearer", "expires_in": self.expires_in}


@contextlib.contextmanager
def token_endpoint(new_token: Callable[[], str], expires_in: Any = 3600, status: int = 200) -> Iterator[TokenEndpoint]:
    """Runs one on a thread. `status`: of its answer to who may ask."""
    endpoint = TokenEndpoint(new_token, expires_in, status)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, answer = endpoint.answer(self.headers.get("Authorization", ""), body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    with serving(Handler) as url:
        endpoint.url = f"{url}/token"
        yield endpoint
