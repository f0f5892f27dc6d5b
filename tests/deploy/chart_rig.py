"""Renders the chart, and finds things in what comes out."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/moderation-worker"
VALUE_SETS = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")

STAND_IN = ("standIn=true", "kafka.bootstrapServers=kafka:9092")
REVISIONS = tuple(f"models.{guard}.revision={'0' * 39}1" for guard in ("llamaGuard", "promptGuard"))
REAL = ("kafka.bootstrapServers=kafka:9092", *REVISIONS, "hub.existingSecret=hub-token")

Object = dict[str, Any]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as quick where yaml has it


def tool(name: str) -> str:
    """The program's path; skips the test aloud where it is not there."""
    path = ROOT / ".tools/bin" / name
    found = str(path) if path.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: `make chart` fetches it where Go, pip or apt-get can")
    return found


def schemas(name: str) -> Path:
    """Schemas that `make chart` fetches; skips the test aloud where they are not there."""
    path = ROOT / ".tools" / name
    if not path.exists():
        pytest.skip(f"needs .tools/{name}: `make chart` fetches it where Go and pip can")
    return path


class Refused(Exception):
    """The chart refused its values; the message is helm's."""


@dataclass(frozen=True)
class Rendered:
    """The objects of a release."""

    objects: tuple[Object, ...]

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> Object:
        """The only object of a kind."""
        (found,) = self.all(kind)
        return found

    def pod(self) -> Object:
        """The worker's pod spec."""
        return dict(self.one("Deployment")["spec"]["template"]["spec"])

    def worker(self) -> Object:
        """The worker's container."""
        (container,) = self.pod()["containers"]
        return dict(container)

    def pod_specs(self) -> Iterator[tuple[str, Object]]:
        """The pods of the worker, the jobs and the test, with their names."""
        for each in self.objects:
            if each["kind"] in {"Deployment", "Job"}:
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]
            elif each["kind"] == "Pod":
                yield each["metadata"]["name"], each["spec"]

    def containers(self) -> Iterator[Object]:
        """All containers of all pods."""
        for _, spec in self.pod_specs():
            yield from spec["containers"]
            yield from spec.get("initContainers", [])


def render(*sets: str, values: str | None = None, apis: tuple[str, ...] = APIS) -> Rendered:
    """The chart with a value set of ci/ and with `--set`s on top. Raises Refused."""
    text = _template(tool("helm"), sets, values, apis)
    return Rendered(tuple(each for each in yaml.load_all(text, Loader=_LOADER) if each))


@functools.cache
def _template(helm: str, sets: tuple[str, ...], values: str | None, apis: tuple[str, ...]) -> str:
    command = [helm, "template", "release", str(CHART), "--kube-version", "1.31.0"]
    command += [part for api in apis for part in ("--api-versions", api)]
    command += ["--values", str(CHART / "ci" / values)] if values else []
    command += [part for each in sets for part in ("--set", each)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def env_of(container: Object) -> dict[str, str]:
    """The variables with plain values."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def settings_of(env: dict[str, str]) -> Settings:
    """The settings that the worker reads from these variables. Raises ValidationError, for unknown names too."""
    prefix = "MODERATION_"
    return Settings.model_validate({k.removeprefix(prefix).lower(): v for k, v in env.items() if k.startswith(prefix)})
