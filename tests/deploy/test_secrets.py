"""Secrets: only in Secrets, mounted as files, and only where they are needed."""

import pytest

from tests.deploy.chart_rig import REAL, VALUE_SETS, env_of, render

pytestmark = pytest.mark.chart

SECRET = "only-for-this-check"


def test_secrets_among_the_values_are_in_secrets_only() -> None:
    rendered = render(values="hpa-values.yaml")
    assert {next(iter(each["stringData"])) for each in rendered.all("Secret")} == {"password", "token"}
    others = [each for each in rendered.objects if each["kind"] != "Secret"]
    assert SECRET in str(rendered.all("Secret")) and SECRET not in str(others)
    for each in rendered.all("Secret"):  # the jobs run before the release's own objects are there
        assert "pre-install" in each["metadata"]["annotations"]["helm.sh/hook"]
        assert int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0


@pytest.mark.parametrize("values", [name for name in VALUE_SETS if name != "hpa-values.yaml"])
def test_no_secret_is_made_where_existing_ones_are_named(values: str) -> None:
    assert not render(values=values).all("Secret")


def test_the_login_is_a_file() -> None:
    rendered = render(values="tls-sasl-values.yaml")
    env = env_of(rendered.worker())
    assert env["MODERATION_SASL_USERNAME"] == "moderation"
    places = {mount["name"]: mount["mountPath"] for mount in rendered.worker()["volumeMounts"]}
    assert env["MODERATION_SASL_PASSWORD_FILE"] == f"{places['kafka-login']}/password"
    assert env["MODERATION_SSL_CA_FILE"] == f"{places['kafka-ca']}/ca.crt"
    volumes = {volume["name"]: volume.get("secret", {}) for volume in rendered.pod()["volumes"]}
    assert volumes["kafka-login"]["secretName"] == "kafka-login"
    assert volumes["kafka-login"]["defaultMode"] == 0o440


def test_mutual_tls() -> None:
    env = env_of(render(values="mutual-tls-keda-values.yaml").worker())
    folder = "/etc/moderation/kafka/client"
    assert env["MODERATION_SSL_CERT_FILE"] == f"{folder}/tls.crt"
    assert env["MODERATION_SSL_KEY_FILE"] == f"{folder}/tls.key"
    assert env["MODERATION_SSL_KEY_PASSWORD_FILE"] == f"{folder}/key-password"


def test_oauth() -> None:
    env = env_of(render(values="multi-tenant-values.yaml").worker())
    assert env["MODERATION_SASL_OAUTH_CLIENT_SECRET_FILE"] == "/etc/moderation/kafka/login/client-secret"
    assert env["MODERATION_SASL_OAUTH_TOKEN_URL"] == "https://login.example/token"
    assert "MODERATION_SASL_USERNAME" not in env


def test_only_what_fetches_has_the_hubs_token() -> None:
    rendered = render(*REAL)
    holders = [each["name"] for each in rendered.containers() if "MODERATION_HF_TOKEN" in str(each["env"])]
    assert holders == ["fetch-models"]
    reference = {"name": "hub-token", "key": "token"}
    (fetcher,) = rendered.pod()["initContainers"]
    assert {"secretKeyRef": reference} in [each.get("valueFrom") for each in fetcher["env"]]


def test_a_job_fetches_where_that_is_asked_for() -> None:
    rendered = render(values="multi-tenant-values.yaml")
    (job,) = [each for each in rendered.all("Job") if each["metadata"]["name"].endswith("-models")]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["models", "fetch"]
    assert "initContainers" not in rendered.pod()


def test_air_gapped_nothing_fetches() -> None:
    rendered = render(values="air-gapped-values.yaml")
    assert not [each for each in rendered.containers() if each["args"] == ["models", "fetch"]]
    assert env_of(rendered.worker())["MODERATION_OFFLINE"] == "true"
    assert "@sha256:" in rendered.worker()["image"]
