"""A real Prometheus on loopback that scrapes one worker every second, with the alerts as its rules."""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart_rig import CHART, tool
from worker.local.ports import free_ports

_STOP_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """One series that answers a query, and its value now."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """What can be asked of it."""

    url: str

    def query(self, expression: str) -> list[Answer]:
        """The series that answer it now. Raises ValueError with Prometheus' words where it refuses it."""
        data = self._get("query", query=expression)
        if data["resultType"] == "scalar":
            return [Answer({}, float(data["result"][1]))]
        return [Answer(each["metric"], float(each["value"][1])) for each in data["result"]]

    def value(self, expression: str) -> float | None:
        """The value of the only series that answers; None where there is none, or no Prometheus yet."""
        try:
            answers = self.query(expression)
        except OSError:
            return None
        return answers[0].value if len(answers) == 1 else None

    def label_values(self, label: str, series: str) -> list[str]:
        """As Grafana's `label_values(series, label)`."""
        return list(self._get(f"label/{label}/values", **{"match[]": series}))

    def alerts(self) -> dict[str, tuple[str, str]]:
        """Each alert's health (unknown, ok, err) and what went wrong at its last evaluation."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules}

    def _get(self, path: str, **parameters: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {json.loads(error.read()).get('error')}") from None


@contextmanager
def prometheus(port: int, folder: Path) -> Iterator[Prometheus]:
    """One that scrapes the worker on this port; its data and log are in the folder. Skips the test aloud where there is
    no Prometheus."""
    program = tool("prometheus")
    job = {"job_name": "moderation-worker", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(CHART / "files/alerts.yaml")],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (own,) = free_ports(1)
    command = [program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{own}"]
    plain = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=plain, cwd=folder)
    try:
        yield Prometheus(f"http://127.0.0.1:{own}")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
