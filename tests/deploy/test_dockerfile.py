"""The image: hadolint's rules, no root, no weights, all by hash."""

import re
import shlex
import subprocess
import tomllib

import pytest

from tests.deploy.chart_rig import ROOT, tool

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_LINES = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
STEPS = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in _LINES if line.strip()]
STAGES = [index for index, (step, _) in enumerate(STEPS) if step == "FROM"]
_THEIR_OWN = {"execnet", "cloudpickle", "joblib", "narwhals", "scipy", "threadpoolctl"}  # of no use to anything else
LAST = STEPS[STAGES[-1] :]


def _all(step: str, steps: list[tuple[str, str]] = STEPS) -> list[str]:
    return [what for name, what in steps if name == step]


@pytest.mark.chart
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([tool("hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.chart
def test_hadolint_would_speak() -> None:
    wrong = TEXT.replace("USER 10001:10001", "USER root")
    done = subprocess.run([tool("hadolint"), "-"], input=wrong, capture_output=True, text=True, check=False)
    assert "DL3002" in done.stdout


def test_two_stages_from_tagged_images() -> None:
    assert len(STAGES) == 2
    assert all(re.match(r"python:\S+-slim-\S+", image) for image in _all("FROM"))  # DL3006
    assert [what for what in _all("COPY", LAST) if "--from=build" in what] == ["--from=build /opt/venv /opt/venv"]


def test_the_user_is_not_root() -> None:  # DL3002
    assert _all("USER")[-1] == "10001:10001"


def test_all_packages_come_by_hash() -> None:
    (install,) = [what for what in _all("RUN") if "requirements.lock" in what]
    words = shlex.split(install)
    assert {"--no-cache-dir", "--no-deps", "--require-hashes"} <= set(words)  # DL3042
    others = [what for what in _all("RUN") if "pip install" in what and what != install]
    assert others and all("--no-deps --no-build-isolation ." in what for what in others)  # DL3013
    assert not re.search(r"apt-get|apk |curl|wget|ADD ", TEXT)  # DL3008, DL3015, DL3020


def test_pipes_fail_where_a_part_fails() -> None:  # DL4006
    (shell,) = _all("SHELL")
    assert "pipefail" in shell
    assert not [what for what in _all("RUN", LAST) if re.search(r"[^|]\|[^|]", what)]


def test_commands_are_lists() -> None:  # DL3025
    (entry,), (command,), (health,) = _all("ENTRYPOINT"), _all("CMD"), _all("HEALTHCHECK")
    assert (entry, command) == ('["moderation-worker"]', '["run"]')
    assert re.search(r"CMD \[.*/healthz.*\]$", health)


def test_nothing_but_the_code_goes_in() -> None:
    allowed = {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "worker"}
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in ignore if line and not line.startswith("#")) == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == allowed
    copied = {word for what in _all("COPY") if "--from" not in what for word in what.split()[:-1]}
    assert {word.removeprefix("./") for word in copied} == allowed


def test_the_tools_of_development_leave_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {re.split(r"[\[<>=]", each)[0] for each in (*extras["dev"], *extras["local"])}
    # jsonschema, markdown-it-py and setuptools are needed by others in the image; the first name is the project's own.
    wanted = names - {"moderation-worker", "jsonschema", "markdown-it-py", "setuptools"}
    (removal,) = [what for what in _all("RUN") if "uninstall" in what]
    words = shlex.split(removal.split("uninstall --yes")[1].split("&&")[0])
    assert set(words) == wanted | _THEIR_OWN
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "worker").rglob("*.py"))
    modules = "|".join(name.replace("-", "_") for name in wanted - {"testcontainers"})  # `demo` alone asks for that one
    assert not re.findall(rf"^\s*(?:import|from) (?:{modules})\b", code, flags=re.MULTILINE)


def test_labels() -> None:
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)", " ".join(_all("LABEL")))) >= {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
    }
