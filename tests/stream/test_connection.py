"""Settings -> aiokafka's keywords: files are read, what cannot be used is named, secrets are not shown."""

from pathlib import Path
from typing import Any

import pytest

from tests.stream.secure_kafka import KEY_PASSWORD, Certificates
from worker.settings import Settings, SettingsError
from worker.stream.kafka.connection import security_of
from worker.stream.kafka.oauth import ClientCredentials, FileToken

SCRAM = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "me"}
OAUTH = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
CLIENT = {**OAUTH, "sasl_oauth_token_url": "https://login.example/token", "sasl_oauth_client_id": "me"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def refusal(**values: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        security_of(settings(**values))
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_without_security() -> None:
    assert security_of(settings()) == {"security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize("content", ["hush", "hush\n", "hush\r\n"])
def test_a_password_from_a_file_is_as_good(tmp_path: Path, content: str) -> None:
    (tmp_path / "pw").write_bytes(content.encode())
    from_file = security_of(settings(**SCRAM, sasl_password_file=tmp_path / "pw"))
    assert from_file == security_of(settings(**SCRAM, sasl_password="hush"))
    assert from_file == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hush",
    }


def test_a_password_file_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    said = refusal(**SCRAM, sasl_password_file=file)
    assert said == f"setting sasl_password_file: {file} cannot be read: No such file or directory"
    file.write_text("\n")
    assert refusal(**SCRAM, sasl_password_file=file) == f"setting sasl_password_file: {file} is empty"
    file.write_bytes(b"\xff")
    assert (
        refusal(**SCRAM, sasl_password_file=file) == f"setting sasl_password_file: {file} cannot be read: it is no text"
    )


def test_the_clients_of_a_worker_share_its_tokens(tmp_path: Path) -> None:
    from_file = settings(**OAUTH, sasl_oauth_token_file=tmp_path / "token")
    provider = security_of(from_file)["sasl_oauth_token_provider"]
    assert isinstance(provider, FileToken) and security_of(from_file)["sasl_oauth_token_provider"] is provider
    from_endpoint = security_of(settings(**CLIENT, sasl_oauth_client_secret="hush"))
    assert isinstance(from_endpoint["sasl_oauth_token_provider"], ClientCredentials)
    assert "hush" not in repr(from_endpoint)


def test_a_client_secret_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    assert "sasl_oauth_client_secret_file" in refusal(**CLIENT, sasl_oauth_client_secret_file=tmp_path / "no")


def mutual(certificates: Certificates, **changes: Any) -> dict[str, Any]:
    return {
        "security_protocol": "SSL",
        "ssl_ca_file": certificates.ca,
        "ssl_cert_file": certificates.client,
        "ssl_key_file": certificates.client_key,
        "ssl_key_password": KEY_PASSWORD,
        **changes,
    }


def test_an_encrypted_key(certificates: Certificates, tmp_path: Path) -> None:
    assert security_of(settings(**mutual(certificates)))["ssl_context"].check_hostname
    (tmp_path / "pw").write_text(KEY_PASSWORD)
    security_of(settings(**mutual(certificates, ssl_key_password=None, ssl_key_password_file=tmp_path / "pw")))


@pytest.mark.parametrize("password", [None, "hush-wrong"])
def test_a_key_that_does_not_open_is_told_and_nobody_is_asked(certificates: Certificates, password: str | None) -> None:
    said = refusal(**mutual(certificates, ssl_key_password=password))
    assert "ssl_key_password" in said and str(certificates.client_key) in said


def test_a_key_of_another_certificate(certificates: Certificates) -> None:
    said = refusal(**mutual(certificates, ssl_key_file=certificates.foreign_key))
    assert "not a pair" in said


@pytest.mark.parametrize("name", ["ssl_ca_file", "ssl_cert_file", "ssl_key_file"])
def test_a_missing_file_is_named(certificates: Certificates, tmp_path: Path, name: str) -> None:
    said = refusal(**mutual(certificates, **{name: tmp_path / "no"}))
    assert said.startswith(f"setting {name}: {tmp_path / 'no'} cannot be ") and "No such file" in said


def test_an_authority_that_is_none(certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("hush")
    assert refusal(**mutual(certificates, ssl_ca_file=tmp_path / "ca")).startswith("setting ssl_ca_file: ")
