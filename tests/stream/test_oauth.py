"""Tokens for OAUTHBEARER: from a file or an endpoint, fresh, and never shown."""

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.stream.secure_kafka import unsecured_token
from tests.stream.token_endpoint import CLIENT, CLIENT_SECRET, TokenEndpoint, token_endpoint
from worker.local.ports import free_ports
from worker.settings import SettingsError
from worker.stream.kafka.oauth import ClientCredentials, FileToken, TokenEndpointAway, TokenUnavailable


async def refusal(provider: FileToken | ClientCredentials, kind: type[TokenUnavailable] = TokenUnavailable) -> str:
    with pytest.raises(TokenUnavailable) as caught:
        await provider.token()
    assert caught.type is kind
    assert "hush" not in str(caught.value)
    return str(caught.value.args[0])


# -- a file


async def test_the_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    provider = FileToken(file)
    for token in ("first", "second"):
        file.write_text(token + "\n")
        assert await provider.token() == token
    assert "second" not in repr(provider) + provider.words


async def test_a_web_token_tells_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "token"
    provider = FileToken(file)
    assert provider.subject is None
    file.write_text(unsecured_token("me"))
    token = await provider.token()
    assert provider.subject == "me"
    assert provider.words.startswith(f"the token of me from {file}, valid until 20")
    assert token not in provider.words


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.bnVsbA.c", "..", "a.eyJzdWIiOjV9.c", "a.eyJleHAiOiJ4In0.c"])
async def test_a_token_that_says_nothing_is_still_one(tmp_path: Path, token: str) -> None:
    provider = FileToken(tmp_path / "token")
    (tmp_path / "token").write_text(token)
    assert await provider.token() == token
    assert (provider.subject, provider.words) == (None, f"the token from {tmp_path / 'token'}")


@pytest.mark.parametrize("content", [b"", b"\n", b"hush hush", b"hush\x01host=evil", b"\xff\xfe", b"hush\nhush"])
async def test_a_file_without_a_token(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert await refusal(FileToken(tmp_path / "token")) == f"{tmp_path / 'token'} has no bearer token"


async def test_a_missing_file(tmp_path: Path) -> None:
    assert await refusal(FileToken(tmp_path / "no")) == f"{tmp_path / 'no'} cannot be read: No such file or directory"


async def test_an_expired_token_is_warned_of_once(tmp_path: Path) -> None:
    provider = FileToken(tmp_path / "token")
    with capture_logs() as logs:
        for seconds in (60, -60, -60, -120):
            (tmp_path / "token").write_text(unsecured_token("me", seconds))
            await provider.token()
    assert [log["log_level"] for log in logs] == ["warning"] * 2
    assert all(log["token"].startswith("the token of me from ") for log in logs)


# -- an endpoint


def client_of(endpoint: TokenEndpoint, clock: Callable[[], float] = lambda: 0.0, **given: Any) -> ClientCredentials:
    secret = given.get("secret", CLIENT_SECRET)
    return ClientCredentials(endpoint.url, CLIENT, lambda: secret, given.get("scope"), clock)


@pytest.mark.parametrize(("lifetime", "used"), [(3600, 3540), (60, 30), (100.5, 50.25)])
async def test_a_token_is_used_until_shortly_before_it_expires(lifetime: float, used: float) -> None:
    now, numbers = [0.0], count()
    with token_endpoint(lambda: f"t{next(numbers)}", lifetime) as endpoint:
        provider = client_of(endpoint, lambda: now[0])
        found = []
        for moment in (0.0, used - 0.1, used + 0.1, used + 0.2):
            now[0] = moment
            found.append(await provider.token())
    assert found == ["t0", "t0", "t1", "t1"]


async def test_connections_that_open_together_share_a_token() -> None:
    numbers = count()
    with token_endpoint(lambda: f"t{next(numbers)}") as endpoint:
        provider = client_of(endpoint)
        assert set(await asyncio.gather(*(provider.token() for _ in range(8)))) == {"t0"}


@pytest.mark.parametrize("scope", [None, "kafka other"])
async def test_what_is_asked(scope: str | None) -> None:
    with token_endpoint(lambda: "t") as endpoint:
        await client_of(endpoint, scope=scope).token()
    (asked,) = endpoint.asked
    assert asked == {"grant_type": ["client_credentials"], **({"scope": [scope]} if scope else {})}


async def test_a_wrong_secret() -> None:
    with token_endpoint(lambda: "t") as endpoint:
        said = await refusal(client_of(endpoint, secret="hush-2"))
    assert said == f"{endpoint.url} gives no token: HTTP 401 (invalid_client)"


async def test_an_answer_that_is_no_token() -> None:
    with token_endpoint(lambda: "t", expires_in="soon") as endpoint:
        assert await refusal(client_of(endpoint)) == f"{endpoint.url} gives no token: HTTP 200"
    with token_endpoint(lambda: "hush hush") as endpoint:
        assert await refusal(client_of(endpoint)) == f"{endpoint.url} has no bearer token"


async def test_an_endpoint_that_does_not_answer() -> None:
    nobody = TokenEndpoint(str, url=f"http://127.0.0.1:{free_ports(1)[0]}/token")
    assert (await refusal(client_of(nobody), TokenEndpointAway)).startswith(f"{nobody.url} does not answer: Connect")


@pytest.mark.parametrize(("status", "kind"), [(503, TokenEndpointAway), (403, TokenUnavailable)])
async def test_an_endpoint_that_gives_none(status: int, kind: type[TokenUnavailable]) -> None:
    with token_endpoint(lambda: "t", status=status) as endpoint:
        assert await refusal(client_of(endpoint), kind) == f"{endpoint.url} gives no token: HTTP {status}"


async def test_a_secret_that_cannot_be_read() -> None:
    def unreadable() -> str:
        raise SettingsError("setting sasl_oauth_client_secret_file: /s cannot be read: gone")

    with token_endpoint(lambda: "t") as endpoint:
        said = await refusal(ClientCredentials(endpoint.url, CLIENT, unreadable, None))
    assert said == "setting sasl_oauth_client_secret_file: /s cannot be read: gone"
