"""Scaling: on Kafka's lag, never above the partitions, and never faster down than workers drain."""

import pytest

from tests.deploy.chart_rig import STAND_IN, Object, Rendered, render

pytestmark = pytest.mark.chart

KEDA = "mutual-tls-keda-values.yaml"


def test_keda_scales_on_the_lag_of_the_group() -> None:
    scaled = render(values=KEDA).one("ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]
    told = trigger["metadata"]
    assert trigger["type"] == "kafka"
    assert (told["topic"], told["consumerGroup"]) == ("chat.events", "moderation-worker")
    assert told["allowIdleConsumers"] == "false" and told["offsetResetPolicy"] == "earliest"
    assert (told["tls"], told["sasl"]) == ("enable", "scram_sha256")
    assert all(isinstance(value, str) for value in told.values())
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 12)


def test_keda_logs_in_with_the_same_secrets() -> None:
    rendered = render(values=KEDA)
    authentication = rendered.one("TriggerAuthentication")
    (trigger,) = rendered.one("ScaledObject")["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    references = {each["parameter"]: (each["name"], each["key"]) for each in authentication["spec"]["secretTargetRef"]}
    assert references == {
        "password": ("kafka-login", "password"),
        "ca": ("kafka-ca", "ca.crt"),
        "cert": ("kafka-client", "tls.crt"),
        "key": ("kafka-client", "tls.key"),
        "keyPassword": ("kafka-client", "key-password"),
    }
    (variable,) = authentication["spec"]["env"]
    assert variable["name"] in {each["name"] for each in rendered.worker()["env"]}


def test_keda_without_a_login_has_no_authentication() -> None:
    rendered = render(values="keda-values.yaml")
    assert not rendered.all("TriggerAuthentication")
    assert "authenticationRef" not in rendered.one("ScaledObject")["spec"]["triggers"][0]


def test_an_own_authentication_wins() -> None:
    rendered = render("autoscaling.authenticationRef=mine", values=KEDA)
    assert not rendered.all("TriggerAuthentication")
    assert rendered.one("ScaledObject")["spec"]["triggers"][0]["authenticationRef"] == {"name": "mine"}


def test_hpa() -> None:
    spec = render(values="hpa-values.yaml").one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    assert spec["metrics"][0]["pods"]["metric"]["name"] == "moderation_consumer_lag"
    assert spec["metrics"][0]["pods"]["target"] == {"type": "AverageValue", "averageValue": "500"}


@pytest.mark.parametrize("values", ["keda-values.yaml", "hpa-values.yaml"])
def test_scaling_down_respects_the_drain(values: str) -> None:
    rendered = render("drainSeconds=200", values=values)
    down = _behavior(rendered)["scaleDown"]
    (policy,) = down["policies"]
    assert policy["type"] == "Pods" and policy["value"] == 1
    assert policy["periodSeconds"] > rendered.pod()["terminationGracePeriodSeconds"] > 200
    assert down["stabilizationWindowSeconds"] >= 300


@pytest.mark.parametrize("values", ["keda-values.yaml", "hpa-values.yaml"])
def test_the_scaler_and_nobody_else_sets_the_replicas(values: str) -> None:
    rendered = render(values=values)
    assert "replicas" not in rendered.one("Deployment")["spec"]
    (scaler,) = rendered.all("ScaledObject") or rendered.all("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == rendered.one("Deployment")["metadata"]["name"]


def test_without_autoscaling_there_is_no_scaler() -> None:
    rendered = render(*STAND_IN)
    assert not rendered.all("ScaledObject") and not rendered.all("HorizontalPodAutoscaler")


def _behavior(rendered: Rendered) -> Object:
    for each in rendered.all("HorizontalPodAutoscaler"):
        return dict(each["spec"]["behavior"])
    return dict(rendered.one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])
