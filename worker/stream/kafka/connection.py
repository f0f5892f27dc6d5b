"""Settings -> what aiokafka's clients take to connect. Whatever talks to Kafka takes it from here."""

import functools
import ssl
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from worker.settings import Settings, SettingsError
from worker.stream.kafka.oauth import ClientCredentials, FileToken, TokenProvider


def security_of(settings: Settings) -> dict[str, Any]:
    """The keyword arguments for TLS and SASL. They hold secrets: never log them. Raises SettingsError where a file
    cannot be used."""
    security: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if "SSL" in settings.security_protocol:
        security["ssl_context"] = _ssl_context(settings)
    if "SASL" in settings.security_protocol:
        security["sasl_mechanism"] = settings.sasl_mechanism
        security |= _token_login(settings) if settings.sasl_mechanism == "OAUTHBEARER" else _password_login(settings)
    return security


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"setting ssl_ca_file: {settings.ssl_ca_file} cannot be used: {error}") from None
    if settings.ssl_cert_file is not None and settings.ssl_key_file is not None:
        _show_certificate(context, settings, settings.ssl_cert_file, settings.ssl_key_file)
    return context


def _show_certificate(context: ssl.SSLContext, settings: Settings, certificate: Path, key: Path) -> None:
    for name, path in (("ssl_cert_file", certificate), ("ssl_key_file", key)):
        _read(name, path)  # OpenSSL does not say which of the two it cannot open
    # Without any password OpenSSL would ask for one on the terminal, and wait.
    password = _secret_of(settings, "ssl_key_password") or ""
    try:
        context.load_cert_chain(certificate, key, password)
    except OSError as error:
        raise SettingsError(
            f"settings ssl_cert_file, ssl_key_file and ssl_key_password: {certificate} and {key} cannot be used "
            f"together: no PEM, not a pair, or encrypted with another password ({error})"
        ) from None


def _password_login(settings: Settings) -> dict[str, Any]:
    return {
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": _secret_of(settings, "sasl_password"),
    }


@functools.lru_cache(maxsize=4)  # one for all clients of a worker: they share its tokens
def _token_provider(settings: Settings) -> TokenProvider:
    if settings.sasl_oauth_token_file is not None:
        return FileToken(settings.sasl_oauth_token_file)
    url, client = settings.sasl_oauth_token_url, settings.sasl_oauth_client_id
    assert url is not None and client is not None  # the settings' own check
    _secret_of(settings, "sasl_oauth_client_secret")  # a missing file is told now
    return ClientCredentials(
        url, client, lambda: _secret_of(settings, "sasl_oauth_client_secret"), settings.sasl_oauth_scope
    )


def _token_login(settings: Settings) -> dict[str, Any]:
    return {"sasl_oauth_token_provider": _token_provider(settings)}


def _secret_of(settings: Settings, name: str) -> str:
    """A secret from its setting or its file; empty where it has neither. Raises SettingsError."""
    secret: SecretStr | None = getattr(settings, name)
    path: Path | None = getattr(settings, f"{name}_file")
    if path is None:
        return "" if secret is None else secret.get_secret_value()
    text = _read(f"{name}_file", path).strip("\r\n")  # editors and `kubectl create secret` disagree on a last newline
    if not text:
        raise SettingsError(f"setting {name}_file: {path} is empty")
    return text


def _read(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"setting {setting}: {path} cannot be read: {words}") from None
