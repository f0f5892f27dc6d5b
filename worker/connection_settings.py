"""The settings of the connection to Kafka: where the brokers are, TLS, and the login."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_ADDRESS = re.compile(r"([^\s:\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
_OURSELVES = ("localhost", "127.0.0.1", "::1")

_TLS = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "ssl_key_password", "ssl_key_password_file")
_LOGIN = ("sasl_username", "sasl_password", "sasl_password_file")
_CLIENT = (
    "sasl_oauth_token_url",
    "sasl_oauth_client_id",
    "sasl_oauth_client_secret",
    "sasl_oauth_client_secret_file",
    "sasl_oauth_scope",
)
_OAUTH = ("sasl_oauth_token_file", *_CLIENT)
_PASSWORDS = ("ssl_key_password", "sasl_password", "sasl_oauth_client_secret")


class ConnectionSettings(BaseSettings):
    """What every connection to Kafka is made with. Settings that contradict each other are refused, so that nobody
    believes a connection to be protected that is not."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    bootstrap_servers: str = "127.0.0.1:9092"
    """Kafka's bootstrap servers: host:port, comma-separated."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to Kafka."""
    ssl_ca_file: Path | None = None
    """PEM file with the certificate authorities to trust; the system's where absent."""
    ssl_cert_file: Path | None = None
    """PEM file with the client's certificate, for mutual TLS."""
    ssl_key_file: Path | None = None
    """PEM file with the client's key, for mutual TLS."""
    ssl_key_password: SecretStr | None = None
    """Password of an encrypted ssl_key_file. Never logged."""
    ssl_key_password_file: Path | None = None
    """File with that password instead."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """SASL mechanism, where the security protocol has SASL."""
    sasl_username: str | None = None
    """SASL user, for PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """SASL password, for PLAIN and SCRAM. Never logged."""
    sasl_password_file: Path | None = None
    """File with the SASL password instead; read at the start."""
    sasl_oauth_token_file: Path | None = None
    """File with the token for OAUTHBEARER; read again for each connection, so that it may be renewed."""
    sasl_oauth_token_url: str | None = None
    """Token endpoint (https) where OAUTHBEARER's tokens are had for the client's credentials (RFC 6749, 4.4)."""
    sasl_oauth_client_id: str | None = None
    """Client id at the token endpoint."""
    sasl_oauth_client_secret: SecretStr | None = None
    """Client secret at the token endpoint. Never logged."""
    sasl_oauth_client_secret_file: Path | None = None
    """File with the client secret instead; read again for each token."""
    sasl_oauth_scope: str | None = None
    """Scopes to ask the token endpoint for, separated by spaces; its own default where absent."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            if not _ADDRESS.fullmatch(server.strip()):
                raise ValueError(f"{server.strip()!r} is not host:port")
        return servers

    @field_validator("sasl_oauth_token_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError where it is none
            safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _OURSELVES)
            if not safe or not parts.hostname or parts.username is not None:
                raise ValueError("not an https address without user and password in it")
        return url

    @model_validator(mode="after")
    def _one_connection(self) -> "ConnectionSettings":
        complaints = [*self._doubled(), *self._tls_complaints(), *self._sasl_complaints()]
        if complaints:
            raise ValueError("; ".join(complaints))
        return self

    def _doubled(self) -> list[str]:
        return [f"{name} and {name}_file exclude each other" for name in _PASSWORDS if len(self._set(name)) == 2]

    def _tls_complaints(self) -> list[str]:
        complaints = []
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            complaints.append("ssl_cert_file and ssl_key_file go together")
        elif self._set("ssl_key_password") and self.ssl_key_file is None:
            complaints.append("ssl_key_password is for an ssl_key_file, and there is none")
        if "SSL" not in self.security_protocol:
            complaints += self._unused(_TLS, f"security_protocol {self.security_protocol}, which has no TLS")
        return complaints

    def _sasl_complaints(self) -> list[str]:
        if "SASL" not in self.security_protocol:
            return self._unused(
                (*_LOGIN, *_OAUTH), f"security_protocol {self.security_protocol}, which has no SASL login"
            )
        if self.sasl_mechanism != "OAUTHBEARER":
            return self._password_complaints()
        return self._unused(_LOGIN, "sasl_mechanism OAUTHBEARER") + self._oauth_complaints()

    def _password_complaints(self) -> list[str]:
        complaints = self._unused(_OAUTH, f"sasl_mechanism {self.sasl_mechanism}")
        if self.sasl_username is None or not self._set("sasl_password"):
            complaints.append(
                f"security_protocol {self.security_protocol} with sasl_mechanism {self.sasl_mechanism} needs "
                "sasl_username and sasl_password (or sasl_password_file)"
            )
        return complaints

    def _oauth_complaints(self) -> list[str]:
        if self.sasl_oauth_token_file is not None:
            return self._unused(_CLIENT, "sasl_oauth_token_file")
        if self.sasl_oauth_token_url is None:
            return ["sasl_mechanism OAUTHBEARER needs sasl_oauth_token_file or sasl_oauth_token_url"]
        if self.sasl_oauth_client_id is None or not self._set("sasl_oauth_client_secret"):
            return [
                "sasl_oauth_token_url needs sasl_oauth_client_id and sasl_oauth_client_secret (or "
                "sasl_oauth_client_secret_file)"
            ]
        return []

    def _unused(self, names: tuple[str, ...], beside: str) -> list[str]:
        found = [name for name in names if getattr(self, name) is not None]
        return [f"{', '.join(found)} cannot be used with {beside}"] if found else []

    def _set(self, secret: str) -> list[str]:
        """The names under which a secret is given: its own, that of its file, both, or none."""
        return [name for name in (secret, f"{secret}_file") if getattr(self, name) is not None]
