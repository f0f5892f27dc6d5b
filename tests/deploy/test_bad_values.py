"""Wrong values: the schema names the key, and contradictions say what to set instead."""

import json

import jsonschema
import pytest
import yaml

from deploy.values_schema import TARGET, values_schema
from tests.deploy.chart_rig import CHART, REAL, REVISIONS, STAND_IN, VALUE_SETS, Object, Refused, render

SCHEMA = values_schema()


def _defaults() -> Object:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


def test_the_schema_is_what_is_generated() -> None:
    assert json.loads(TARGET.read_text(encoding="utf-8")) == SCHEMA, "run `make schemas`"


def test_the_schema_knows_every_value_and_no_other() -> None:
    def paths(values: Object, schema: Object, at: str = "") -> None:
        known = schema.get("properties")
        if known is None or at.endswith("/settings"):
            return
        assert set(known) - {"global", "claims"} == set(values), at
        for key, value in values.items():
            assert known[key].get("type") == "object" or not isinstance(value, dict), f"{at}/{key}"
            if isinstance(value, dict):
                paths(value, known[key], f"{at}/{key}")

    paths(_defaults(), SCHEMA)


def test_objects_are_closed() -> None:
    def closed(schema: Object, at: str) -> None:
        for key, value in schema.get("properties", {}).items():
            if "properties" in value:
                assert value["additionalProperties"] is False, f"{at}/{key}"
            closed(value, f"{at}/{key}")

    assert SCHEMA["additionalProperties"] is False
    closed(SCHEMA, "")


@pytest.mark.parametrize("values", VALUE_SETS)
def test_value_sets_fit_the_schema(values: str) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load((CHART / "ci" / values).read_text(encoding="utf-8")))


@pytest.mark.chart
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("replicaCuont=2", "replicaCuont"),
        ("kafka.bootstrapServer=kafka:9092", "bootstrapServer"),
        ("settings.max_in_flight=3", "max_in_flight"),
        ("settings.hf_token=x", "hf_token"),
        ("settings.ordering=sometimes", "/settings/ordering"),
        ("settings.dead_letter_limit_share=2", "/settings/dead_letter_limit_share"),
        ("kafka.bootstrapServers=kafka", "/kafka/bootstrapServers"),
        ("kafka.securityProtocol=TLS", "/kafka/securityProtocol"),
        ("models.llamaGuard.revision=main", "/models/llamaGuard/revision"),
        ("topics.partitions=0", "/topics/partitions"),
        ("autoscaling.type=vpa", "/autoscaling/type"),
        ("image.digest=sha256:12", "/image/digest"),
        ("gpu.count=2", "count"),
    ],
)
def test_a_wrong_value_is_named(wrong: str, named: str) -> None:
    with pytest.raises(Refused) as refused:
        render(*STAND_IN, wrong)
    assert named in str(refused.value) and "schema" in str(refused.value)


SASL = "kafka.securityProtocol=SASL_SSL"


@pytest.mark.chart
@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("standIn=true",), "kafka.bootstrapServers is empty"),
        ((*STAND_IN, SASL), "needs a password: set kafka.sasl.existingSecret"),
        ((*STAND_IN, SASL, "kafka.sasl.existingSecret=s"), "needs kafka.sasl.username"),
        ((*STAND_IN, "kafka.sasl.existingSecret=s"), "which has no login"),
        ((*STAND_IN, "kafka.tls.caSecret=s"), "which has no TLS"),
        ((*STAND_IN, SASL, "kafka.sasl.existingSecret=s", "kafka.sasl.mechanism=OAUTHBEARER"), "oauth.tokenUrl"),
        ((*STAND_IN, "policies=x", "policiesConfigMap=y"), "exclude each other"),
        ((*STAND_IN, "replicaCount=13"), "replicaCount (13) is above topics.partitions (12)"),
        ((*STAND_IN, "autoscaling.type=keda", "autoscaling.maxReplicas=13"), "maxReplicas (13) is above"),
        ((*STAND_IN, "autoscaling.type=hpa", "autoscaling.minReplicas=5"), "minReplicas is above"),
        ((*STAND_IN, "autoscaling.type=hpa", "autoscaling.minReplicas=0"), "never scales from 0"),
        (("kafka.bootstrapServers=k:9092",), "revision is empty: pin"),
        (("kafka.bootstrapServers=k:9092", *REVISIONS), "set hub.existingSecret"),
        ((*REAL, "gpu.enabled=false"), "set standIn, or cpuIsFine"),
        ((*REAL, "modelCache.fetch=none"), "needs modelCache.existingClaim"),
        ((*REAL, "replicaCount=2", "modelCache.accessModes={ReadWriteOnce}"), "needs ReadWriteMany"),
    ],
)
def test_contradictions_say_what_to_set(sets: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused) as refused:
        render(*sets)
    assert said in str(refused.value)


@pytest.mark.chart
def test_without_keda_nothing_half_is_installed() -> None:
    with pytest.raises(Refused, match="install KEDA, or set hpa or none"):
        render(values="keda-values.yaml", apis=())


@pytest.mark.chart
def test_without_the_prometheus_operator() -> None:
    with pytest.raises(Refused, match="install it, or switch them off"):
        render(values="tls-sasl-values.yaml", apis=())


@pytest.mark.chart
def test_real_weights_on_a_cpu_if_that_is_meant() -> None:
    limits = render(*REAL, "gpu.enabled=false", "cpuIsFine=true").worker()["resources"]["limits"]
    assert "nvidia.com/gpu" not in limits
