"""docker-compose.yml: of the compose specification, with settings that exist, and without secrets."""

import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from tests.deploy.chart_rig import CHART, ROOT, Object, render, schemas, settings_of, tool
from worker.settings import Settings

COMPOSE: Object = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Object] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("moderation-worker:")}


def _env(service: Object) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items() if value is not None}


@pytest.mark.chart
def test_the_schema_of_the_compose_specification() -> None:
    schema = json.loads(schemas("compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate(COMPOSE)
    wrong = {**COMPOSE, "services": {"worker": {"image": "x", "retsart": "always"}}}
    assert [error.json_path for error in validator.iter_errors(wrong)] == ["$.services.worker"]


def test_what_it_starts() -> None:
    assert set(OURS) == {"topics", "worker", "models", "worker-gpu"}
    others = {each["image"].split(":")[0] for name, each in SERVICES.items() if name not in OURS}
    assert others == {"apache/kafka", "prom/prometheus", "grafana/grafana", "kafbat/kafka-ui"}
    assert SERVICES["kafka"]["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[^:]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_worker_takes_its_settings(name: str) -> None:
    settings_of(_env(OURS[name]))


def test_stand_ins_by_default_and_never_both() -> None:
    default = (ROOT / ".env").read_text(encoding="utf-8")
    assert "COMPOSE_PROFILES=stand-in\n" in default
    assert (SERVICES["worker"]["profiles"], SERVICES["worker-gpu"]["profiles"]) == (["stand-in"], ["gpu"])
    stand_in, real = settings_of(_env(SERVICES["worker"])), settings_of(_env(SERVICES["worker-gpu"]))
    assert stand_in.llama_guard_model == stand_in.prompt_guard_model == "stand-in"
    assert "stand-in" not in (real.llama_guard_model, real.prompt_guard_model)
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and device["count"] == 1


def test_workers_start_when_topics_and_models_are_there() -> None:
    after = {name: each["condition"] for name, each in SERVICES["worker-gpu"]["depends_on"].items()}
    assert after == {"topics": "service_completed_successfully", "models": "service_completed_successfully"}
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert SERVICES["topics"]["command"][:2] == ["topics", "create"]


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_the_grace_period_fits_the_drain(name: str) -> None:
    service = SERVICES[name]
    assert int(service["stop_grace_period"].removesuffix("s")) >= settings_of(_env(service)).drain_seconds + 15


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_are_restricted(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "/tmp" in service["tmpfs"]


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_is_in_it() -> None:
    named = re.compile(r"token|password|secret|key_?$", re.IGNORECASE)
    for each in SERVICES.values():
        for variable, value in each.get("environment", {}).items():
            assert value is None or not named.search(variable), variable
    assert SERVICES["models"]["environment"]["MODERATION_HF_TOKEN"] is None


def test_every_variable_in_chart_compose_and_image_is_a_setting() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CHART.glob("templates/**/*.*")]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("docker-compose.yml", "Dockerfile")]
    found = set(re.findall(r"\bMODERATION_[A-Z][A-Z_]*[A-Z]\b(?!_?\.\.\.)", "\n".join(texts)))
    assert len(found) > 30
    assert {name for name in found if name.removeprefix("MODERATION_").lower() not in Settings.model_fields} == set()


@pytest.mark.chart
def test_chart_and_compose_name_the_same_settings() -> None:
    """What compose sets, the chart sets as well; there it is a value, here it is fixed."""
    chart = {each["name"] for name in ("plain", "tls-sasl") for container in _containers(name) for each in container}
    compose = {variable for each in OURS.values() for variable in each.get("environment", {})}
    assert compose <= chart


def _containers(values: str) -> list[list[Object]]:
    return [container["env"] for container in render(values=f"{values}-values.yaml").containers()]


def test_mounted_files_are_there() -> None:
    sources = [v.split(":")[0] for each in SERVICES.values() for v in each.get("volumes", []) if v.startswith("./")]
    assert len(sources) == 5
    assert all((ROOT / source).is_file() for source in sources)


@pytest.mark.chart
def test_prometheus_takes_its_configuration() -> None:
    command = [tool("promtool"), "check", "config", str(ROOT / "deploy/prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
