"""What a person reads after `helm install`."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart_rig import APIS, CHART, STAND_IN, tool

pytestmark = pytest.mark.chart

Notes = Callable[..., str]
# `helm template` leaves the notes out, and `helm install` wants a cluster: an object that holds them.
SHOWN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  notes: |
    {{- include (print .Template.BasePath "/NOTES.txt") . | nindent 4 }}
"""


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (chart / "templates/shown.yaml").write_text(SHOWN, encoding="utf-8")

    def shown(*arguments: str) -> str:
        command = [tool("helm"), "template", "release", str(chart), "--show-only=templates/shown.yaml"]
        command += ["--kube-version=1.31.0", *(f"--api-versions={api}" for api in APIS)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["data"]["notes"])

    return shown


def values(name: str) -> str:
    return f"--values={CHART / 'ci' / name}"


def test_stand_ins_say_that_they_are(notes: Notes) -> None:
    text = notes(*(f"--set={each}" for each in STAND_IN))
    assert "STAND-INS" in text and "no verdict means anything" in text
    assert "nvidia.com/gpu" not in text


def test_real_models_need_gpus(notes: Notes) -> None:
    text = notes(values("hpa-values.yaml"))
    assert "STAND-INS" not in text
    assert "takes a whole nvidia.com/gpu" in text and "Pending" in text


def test_an_hpa_needs_a_metrics_adapter(notes: Notes) -> None:
    adapter = "serves no custom.metrics.k8s.io"
    assert adapter in notes(values("hpa-values.yaml"))
    assert adapter not in notes(values("hpa-values.yaml"), "--set=autoscaling.type=none")


def test_they_name_the_next_commands(notes: Notes) -> None:
    text = notes(values("air-gapped-values.yaml"), "--namespace=chat")
    assert "helm test release --namespace chat" in text
    assert "kubectl --namespace chat logs deploy/" in text and "docs/operations.md" in text
