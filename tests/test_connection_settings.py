"""Settings of the connection: which go together, and secrets that are shown nowhere."""

from pathlib import Path

import pytest

from tests.settings_rig import clean_settings, complaint, toml  # noqa: F401  # the fixture is used by itself
from worker.settings import load_settings


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('security_protocol = "SASL_SSL"', "needs sasl_username and sasl_password"),
        ('security_protocol = "SASL_SSL"\nsasl_username = "u"', "needs sasl_username and sasl_password"),
        (
            'security_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password = "hush"\nsasl_password_file = "/p"',
            "sasl_password and sasl_password_file exclude each other",
        ),
        (
            'sasl_username = "u"\nsasl_password = "hush"',
            "sasl_username, sasl_password cannot be used with security_protocol PLAINTEXT, which has no SASL login",
        ),
        ('ssl_ca_file = "/c"', "ssl_ca_file cannot be used with security_protocol PLAINTEXT, which has no TLS"),
        ('security_protocol = "SSL"\nssl_key_password = "hush"', "ssl_key_password is for an ssl_key_file"),
        (
            'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"',
            "sasl_mechanism OAUTHBEARER needs sasl_oauth_token_file or sasl_oauth_token_url",
        ),
        (
            'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_username = "u"\n'
            'sasl_oauth_token_file = "/t"',
            "sasl_username cannot be used with sasl_mechanism OAUTHBEARER",
        ),
        (
            'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_oauth_token_url = "https://a/t"',
            "needs sasl_oauth_client_id and sasl_oauth_client_secret",
        ),
        (
            'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_oauth_token_file = "/t"\n'
            'sasl_oauth_scope = "s"',
            "sasl_oauth_scope cannot be used with sasl_oauth_token_file",
        ),
        (
            'security_protocol = "SASL_SSL"\nsasl_oauth_token_file = "/t"',
            "sasl_oauth_token_file cannot be used with sasl_mechanism SCRAM-SHA-512",
        ),
        ('ssl_cert_file = "/c"', "ssl_cert_file and ssl_key_file go together"),
        ('ssl_key_file = "/k"', "ssl_cert_file and ssl_key_file go together"),
        ('safe_topic = "chat.events"', "must all be different"),
        ('safe_topic = "x"\nunsafe_topic = "x"', "must all be different"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    said = complaint(toml(tmp_path, text))
    assert said.startswith("settings: ")
    assert fault in said


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://login.example/token", True),
        ("http://127.0.0.1:8080/token", True),
        ("http://login.example/token", False),
        ("https://me:hush@login.example/token", False),
        ("https://", False),
        ("login.example/token", False),
    ],
)
def test_a_client_secret_goes_over_tls_only(tmp_path: Path, url: str, taken: bool) -> None:
    file = toml(
        tmp_path,
        f'security_protocol = "SASL_SSL"\nsasl_mechanism = "OAUTHBEARER"\nsasl_oauth_token_url = "{url}"\n'
        'sasl_oauth_client_id = "me"\nsasl_oauth_client_secret = "hush"',
    )
    if taken:
        assert load_settings(file).sasl_oauth_token_url == url
    else:
        said = complaint(file)
        assert said.startswith("setting sasl_oauth_token_url ") and "not an https address" in said
        assert "hush" not in said


def test_secrets_are_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("MODERATION_SASL_USERNAME", "u")
    monkeypatch.setenv("MODERATION_SASL_PASSWORD", "hush-1")
    monkeypatch.setenv("MODERATION_HF_TOKEN", "hush-2")
    settings = load_settings(None, {"group": "g"})
    assert settings.sasl_password is not None and settings.sasl_password.get_secret_value() == "hush-1"
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "hush" not in shown


@pytest.mark.parametrize(
    "text",
    [
        'sasl_password = ["hush"]',
        'security_protocol = "SASL_SSL"\nsasl_password = "hush"',
        'sasl_password = "hush"\nweb_port = "x"',
    ],
)
def test_secrets_are_in_no_complaint(tmp_path: Path, text: str) -> None:
    assert "hush" not in complaint(toml(tmp_path, text))
