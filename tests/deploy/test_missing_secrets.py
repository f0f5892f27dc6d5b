"""Secrets that are not there: the installation says which before it begins."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.chart_rig import APIS, CHART, tool
from tests.deploy.fake_cluster import fake_cluster

pytestmark = pytest.mark.chart

SETS = {
    "tls-sasl-values.yaml": ("kafka-ca", "kafka-login", "hub-token"),
    "mutual-tls-keda-values.yaml": ("kafka-ca", "kafka-client", "kafka-login", "hub-token"),
    "air-gapped-values.yaml": ("kafka-ca", "kafka-client"),
    "plain-values.yaml": (),
}


def install(kubeconfig: Path, values: str, *sets: str) -> subprocess.CompletedProcess[str]:
    """As `helm install` renders it, which asks the cluster."""
    command = [tool("helm"), "template", "release", str(CHART), "--dry-run=server", "--kube-version", "1.31.0"]
    command += ["--values", str(CHART / "ci" / values), *(part for api in APIS for part in ("--api-versions", api))]
    command += [part for each in sets for part in ("--set", each)]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("values", SETS)
def test_with_all_of_them_it_begins(values: str, tmp_path: Path) -> None:
    with fake_cluster(tmp_path, *SETS[values]) as kubeconfig:
        done = install(kubeconfig, values)
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout


@pytest.mark.parametrize(("values", "missing"), [(values, name) for values, names in SETS.items() for name in names])
def test_one_that_is_missing_is_named(values: str, missing: str, tmp_path: Path) -> None:
    with fake_cluster(tmp_path, *(name for name in SETS[values] if name != missing)) as kubeconfig:
        done = install(kubeconfig, values)
        assert done.returncode != 0
        assert f"the values name the Secret {missing}, and the namespace default has none" in done.stderr
        assert install(kubeconfig, values, "checkSecrets=false").returncode == 0
