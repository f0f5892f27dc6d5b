"""Settings -> what aiokafka's clients take to connect."""

import ssl
from typing import Any

from worker.settings import Settings, SettingsError


def security_of(settings: Settings) -> dict[str, Any]:
    """The keyword arguments for TLS and SASL. Raises SettingsError where a file cannot be used."""
    security: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if "SSL" in settings.security_protocol:
        security["ssl_context"] = _ssl_context(settings)
    if "SASL" in settings.security_protocol and settings.sasl_password is not None:
        security |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return security


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_file)
        if settings.ssl_cert_file is not None:
            context.load_cert_chain(settings.ssl_cert_file, settings.ssl_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"setting ssl_ca_file, ssl_cert_file or ssl_key_file: {error}") from None
    return context
