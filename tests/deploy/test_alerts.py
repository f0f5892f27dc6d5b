"""The alerts: of metrics that exist, each with a section in the runbook, each raised when it should and only then."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboard import TARGET, dashboard
from tests.deploy.alert_cases import CASES, Series
from tests.deploy.chart_rig import CHART, ROOT, render, tool
from worker.observability import metrics

RULES = CHART / "files/alerts.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
RUNBOOK = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
NAMES = [alert["alert"] for alert in ALERTS]


def _declared() -> set[str]:
    """Every name that /metrics can show, with the suffixes of its type."""
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    calls = re.findall(r'= (\w+)\(\s*"(moderation_\w+)"', source)
    names = set()
    for kind, name in calls:
        if kind.endswith("Counter"):
            names.add(f"{name}_total")
        elif kind.endswith("Histogram"):
            names.update(f"{name}_{part}" for part in ("bucket", "count", "sum"))
        else:
            names.add(name)
    return names


def _named(text: str) -> set[str]:
    return set(re.findall(r"\bmoderation_[a-z_]+\b", text)) - {"moderation_worker"}


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    declared = _declared()
    assert len(declared) > 40
    asked = [alert["expr"] for alert in ALERTS]
    asked += [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    for query in asked:
        assert _named(query) <= declared, query


def test_the_labels_that_are_asked_for_exist() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    for label in ("label", "guard", "cause", "category", "tenant", "stage", "partition", "result", "kind", "fault"):
        assert f"`{label}`" in page, label


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_each_alert_has_its_section_in_the_runbook(alert: dict[str, Any]) -> None:
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert page == "docs/operations.md" and anchor == alert["alert"].lower()
    section = re.search(rf"^### {alert['alert']}\n(.*?)(?=^##|\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    assert section, "no section"
    for part in ("**Means**", "**Look**", "**Do**"):
        assert part in section[1], part


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_each_alert_says_how_bad_it_is(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["summary"] and alert["annotations"]["description"]


def test_each_alert_has_its_cases() -> None:
    assert sorted(CASES) == sorted(NAMES)


@pytest.mark.chart
@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_raised_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.read_text(encoding="utf-8"), encoding="utf-8")
    quiet = [_asked(name, series, case.minute, raised=False) for series in (case.quiet, *case.quiet_too)]
    tests = [_asked(name, case.fires, case.minute, raised=True), *quiet]
    unit = tmp_path / "unit.yaml"
    unit.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    done = subprocess.run([tool("promtool"), "test", "rules", str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _asked(name: str, series: Series, minute: int, *, raised: bool) -> dict[str, Any]:
    query = f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})'
    sample = {"labels": f'{{alertname="{name}"}}', "value": 1}
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": f"{minute}m", "exp_samples": [sample] if raised else []},
        ],
    }


@pytest.mark.chart
def test_the_chart_ships_these_alerts_and_this_dashboard() -> None:
    base, rules = "https://wiki.example/", RULES.read_text(encoding="utf-8")
    with_base, values = f"monitoring.prometheusRule.runbookBase={base}", "tls-sasl-values.yaml"
    rules = rules.replace("docs/op", f"{base}docs/op")
    rendered = render(with_base, values=values)
    assert rendered.one("PrometheusRule")["spec"]["groups"] == yaml.safe_load(rules)["groups"]
    renamed = render(with_base, "nameOverride=judge", values=values)
    rules = rules.replace('job="moderation-worker"', 'job="judge"')
    assert renamed.one("PrometheusRule")["spec"]["groups"] == yaml.safe_load(rules)["groups"]
    (config,) = [each for each in rendered.all("ConfigMap") if each["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(config["data"]["moderation-worker.json"]) == dashboard()
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.chart
def test_prometheus_finds_the_worker_by_the_job_of_the_alerts() -> None:
    rendered = render(values="tls-sasl-values.yaml")
    monitor, service = rendered.one("ServiceMonitor")["spec"], rendered.one("Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "moderation-worker"
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"] == "web"
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus.yaml").read_text(encoding="utf-8"))
    assert prometheus["scrape_configs"][0]["job_name"] == "moderation-worker"


def test_the_dashboard_is_what_is_generated() -> None:
    assert json.loads(TARGET.read_text(encoding="utf-8")) == dashboard(), "run `make schemas`"


def test_the_dashboard_answers_the_four_questions() -> None:
    panels = dashboard()["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Are we behind?", "Are we slow?", "Are we wrong?", "What changed?"]
    graphs = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["description"] and panel["targets"] for panel in graphs)
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.chart
def test_the_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    plain = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries]
    rules = tmp_path / "rules.yaml"
    recorded = [{"record": f"panel_{index}", "expr": query} for index, query in enumerate(plain)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    done = subprocess.run([tool("promtool"), "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
