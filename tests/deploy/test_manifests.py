"""Every value set of ci/ renders to objects that Kubernetes, KEDA and the Prometheus operator take."""

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.tools import KUBERNETES
from tests.deploy.chart_rig import CHART, VALUE_SETS, env_of, render, schemas, settings_of, tool

pytestmark = pytest.mark.chart


def test_there_are_value_sets_for_what_is_promised() -> None:
    wanted = {"plain", "tls-sasl", "keda", "hpa", "air-gapped", "multi-tenant"}
    assert wanted <= {name.removesuffix("-values.yaml") for name in VALUE_SETS}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_lint(values: str) -> None:
    command = [tool("helm"), "lint", "--strict", str(CHART), "--kube-version", "1.31.0", "--values"]
    done = subprocess.run([*command, str(CHART / "ci" / values)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUE_SETS)
def test_schemas_of_kubernetes(values: str, version: str, tmp_path: Path) -> None:
    folder = schemas(f"kubernetes/v{version}-local-strict")
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(render(values=values).objects), encoding="utf-8")
    assert _complaints(manifest, folder) == ""


def test_a_wrong_manifest_is_found(tmp_path: Path) -> None:
    folder = schemas(f"kubernetes/v{KUBERNETES[0]}-local-strict")
    objects = render(values="mutual-tls-keda-values.yaml").objects
    for each in objects:
        if each["kind"] in {"Deployment", "ScaledObject"}:
            each["spec"]["nonsense"] = 1
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    complaints = _complaints(manifest, folder)
    assert "Deployment" in complaints and "ScaledObject" in complaints


def _complaints(manifest: Path, folder: Path) -> str:
    locations = [
        f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
        f"{schemas('crds')}/{{{{ .ResourceKind }}}}_{{{{ .ResourceAPIVersion }}}}.json",
    ]
    command = [tool("kubeconform"), "-strict", *(part for place in locations for part in ("-schema-location", place))]
    done = subprocess.run([*command, str(manifest)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("values", VALUE_SETS)
def test_the_worker_takes_its_settings(values: str) -> None:
    for container in render(values=values).containers():
        settings_of(env_of(container))


def test_numbers_and_flags_arrive_as_they_were_meant() -> None:
    settings = settings_of(env_of(render(values="multi-tenant-values.yaml").worker()))
    assert settings.max_in_flight_bytes == 134217728
    assert settings.dead_letter_limit_share == 0.25
    assert settings.event_in_review_verdicts is True
    assert settings.image_hosts == ("images.example", "cdn.example")
    assert settings.drain_seconds == 60
