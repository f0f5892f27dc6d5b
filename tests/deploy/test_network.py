"""NetworkPolicy: on by default; only Prometheus comes in, only Kafka, DNS and what is needed goes out."""

import pytest

from tests.deploy.chart_rig import REAL, STAND_IN, Object, Rendered, render

pytestmark = pytest.mark.chart


def _ports(rendered: Rendered) -> set[int]:
    rules = rendered.one("NetworkPolicy")["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_only_the_scraper_comes_in() -> None:
    spec = render(*STAND_IN).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": "web", "protocol": "TCP"}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_nobody_comes_in_where_nobody_is_named() -> None:
    assert render(*STAND_IN, "networkPolicy.scrapers=null").one("NetworkPolicy")["spec"]["ingress"] == []


def test_only_dns_and_kafka_go_out_with_the_stand_ins() -> None:
    assert _ports(render(*STAND_IN)) == {53, 9092}


def test_https_goes_out_only_where_something_is_fetched() -> None:
    assert 443 in _ports(render(*REAL))
    assert 443 not in _ports(render(values="air-gapped-values.yaml"))
    assert 443 in _ports(render(*STAND_IN, "settings.image_hosts=images.example"))


@pytest.mark.parametrize(("url", "port"), [("https://idp/token", 443), ("https://idp:8443/token", 8443)])
def test_the_port_of_the_token_endpoint(url: str, port: int) -> None:
    assert _ports(render(*STAND_IN, f"kafka.sasl.oauth.tokenUrl={url}")) == {53, 9092, port}


def test_the_ports_of_all_brokers() -> None:
    many = "kafka.bootstrapServers=a:9093\\,b:9094"
    assert _ports(render("standIn=true", many, "networkPolicy.kafkaPorts={9095}")) == {53, 9093, 9094, 9095}


def test_kafka_may_be_named() -> None:
    rules: list[Object] = render(values="air-gapped-values.yaml").one("NetworkPolicy")["spec"]["egress"]
    (kafka,) = [rule for rule in rules if rule["ports"] == [{"port": 9093, "protocol": "TCP"}]]
    assert kafka["to"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]


def test_it_holds_for_all_pods_of_the_release() -> None:
    rendered = render(*STAND_IN)
    wanted = rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    pods = [
        rendered.one("Deployment")["spec"]["template"],
        rendered.one("Job")["spec"]["template"],
        rendered.one("Pod"),
    ]
    for pod in pods:
        assert wanted.items() <= pod["metadata"]["labels"].items()


def test_it_can_be_switched_off() -> None:
    assert not render(*STAND_IN, "networkPolicy.enabled=false").all("NetworkPolicy")
