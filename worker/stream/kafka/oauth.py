"""Where OAUTHBEARER's tokens come from: a file that somebody else keeps fresh, or an OAuth 2 token endpoint.

aiokafka asks for a token whenever it opens a connection. It does not log in again over an open one (KIP-368): when the
session of a token ends, the broker closes the connection and the next one takes the next token.
"""

import asyncio
import base64
import json
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from worker.settings import SettingsError

log = structlog.get_logger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750; anything else would break SASL's message apart
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_TIMEOUT_SECONDS = 5.0  # below what preflight gives a broker, so that the right one is blamed
_RENEW_BEFORE_SECONDS = 60.0
_LIFETIME_SECONDS = 300.0  # of a token whose endpoint does not say


class TokenUnavailable(KafkaError):  # type: ignore[misc]
    """There is no token to log in with. A KafkaError, so that aiokafka tries the connection again later."""


class TokenEndpointAway(TokenUnavailable):
    """The endpoint that gives tokens does not answer, or says that it cannot just now (HTTP 5xx)."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens for aiokafka. Subclasses have `_fetch`, which blocks and runs on a thread."""

    def __init__(self) -> None:
        self._claims: dict[str, Any] = {}
        self._told: dict[str, Any] = {}  # the claims of the token that was last warned of

    async def token(self) -> str:
        """A token that should be valid now. Raises TokenUnavailable."""
        token = await asyncio.to_thread(self._fetch)
        if not _TOKEN.fullmatch(token):
            raise TokenUnavailable(f"{self.source} has no bearer token")
        self._claims = _claims_of(token)
        self._warn_if_expired()
        return token

    def _warn_if_expired(self) -> None:
        """A running worker waits for a better token and connects again and again: the log must say for what, once."""
        expires = self._claims.get("exp")
        if isinstance(expires, int | float) and expires < time.time() and self._told != self._claims:
            self._told = self._claims
            log.warning("brokers will not take an expired token; waiting for another", token=self.words)

    @property
    @abstractmethod
    def source(self) -> str:
        """Where the tokens come from, for people."""

    @property
    def subject(self) -> str | None:
        """Whom the latest token is about (`sub`), by which brokers name the user unless they are told otherwise; None
        where it does not say."""
        subject = self._claims.get("sub")
        return subject if isinstance(subject, str) else None

    @property
    def words(self) -> str:
        """The latest token in words, without its secret."""
        whose = f" of {self.subject}" if self.subject else ""
        return f"the token{whose} from {self.source}{_until(self._claims.get('exp'))}"

    @abstractmethod
    def _fetch(self) -> str:
        """A token. Raises TokenUnavailable."""


class FileToken(TokenProvider):
    """The token in a file, as Kubernetes projects service accounts' tokens. Read each time."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def source(self) -> str:
        """The file."""
        return str(self._path)

    def _fetch(self) -> str:
        try:
            return self._path.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise TokenUnavailable(f"{self._path} cannot be read: {error.strerror}") from None


class ClientCredentials(TokenProvider):
    """Tokens from a token endpoint for the client's id and secret (RFC 6749, 4.4), each used until shortly before it
    expires."""

    def __init__(
        self,
        url: str,
        client_id: str,
        secret: Callable[[], str],
        scope: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret` is asked for each token and may raise SettingsError; `clock` gives seconds."""
        super().__init__()
        self._url, self._client_id, self._secret, self._scope, self._clock = url, client_id, secret, scope, clock
        self._lock = threading.Lock()  # connections that open together share one token
        self._token, self._renew_at = "", 0.0

    @property
    def source(self) -> str:
        """The endpoint."""
        return self._url

    def _fetch(self) -> str:
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                asked_at = self._clock()
                self._token, lifetime = self._ask()
                self._renew_at = asked_at + max(lifetime - _RENEW_BEFORE_SECONDS, lifetime / 2)
            return self._token

    def _ask(self) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        try:
            answer = httpx.post(self._url, data=form, auth=(self._client_id, self._secret()), timeout=_TIMEOUT_SECONDS)
        except SettingsError as error:
            raise TokenUnavailable(str(error)) from None
        except httpx.HTTPError as error:
            raise TokenEndpointAway(f"{self._url} does not answer: {type(error).__name__}: {error}") from None
        found = _object_in(answer)
        token, lifetime = found.get("access_token"), found.get("expires_in", _LIFETIME_SECONDS)
        if answer.is_success and isinstance(token, str) and isinstance(lifetime, int | float):
            return token, float(lifetime)
        # Only the error's code: what else stands there may be anything, the secret too.
        code = found.get("error")
        told = f" ({code})" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""
        kind = TokenEndpointAway if answer.is_server_error else TokenUnavailable
        raise kind(f"{self._url} gives no token: HTTP {answer.status_code}{told}")


def _object_in(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _claims_of(token: str) -> dict[str, Any]:
    """What a JSON Web Token says of itself, unverified; nothing where it is opaque."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _until(expires: Any) -> str:
    try:
        return f", valid until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (TypeError, ValueError, OverflowError, OSError):  # absent, or no time
        return ""
