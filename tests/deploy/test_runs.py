"""What the chart's pods would run, run here: its commands and variables, as processes on a real Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.chart_rig import Object, Rendered, env_of, render
from tests.stream.rig import until
from worker.local.broker import LocalKafka
from worker.local.ports import free_ports

pytestmark = pytest.mark.chart


@pytest.fixture
def rendered(kafka: LocalKafka) -> Rendered:
    """A release with topics of its own on the real Kafka."""
    name = f"chart-{uuid.uuid4().hex[:12]}"
    topics = [f"topics.{topic}={name}.{topic}" for topic in ("input", "safe", "unsafe", "review", "deadLetter")]
    servers = kafka.bootstrap_servers.replace(",", "\\,")
    small = ("topics.partitions=2", "topics.replicationFactor=1", "drainSeconds=20")
    return render("standIn=true", f"kafka.bootstrapServers={servers}", f"kafka.group={name}", *small, *topics)


class Pod:
    """A container of the chart as a process of this machine: other folders and another port, all else as it is."""

    def __init__(self, container: Object, folder: Path, port: int) -> None:
        here = {"HOME": str(folder), "MODERATION_JOURNAL_DIR": str(folder), "MODERATION_WEB_PORT": str(port)}
        env = env_of(container)
        env |= {name: value for name, value in here.items() if name in env}
        command = [sys.executable, "-m", "worker", *container["args"]]
        self.address = f"http://127.0.0.1:{port}"
        self._log = folder / f"{container['name']}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env}, cwd=folder, stderr=log)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(encoding="utf-8")

    def metrics(self) -> str:
        """What Prometheus would see."""
        return httpx.get(f"{self.address}/metrics", timeout=30).text

    def answers(self, path: str) -> bool:
        """Whether a probe would be green."""
        assert self.process.poll() is None, self.said()
        try:
            return httpx.get(self.address + path, timeout=30).is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    return free_ports(1)[0]  # none of those that outgoing connections take


@pytest.fixture
def worker(rendered: Rendered, tmp_path: Path, port: int) -> Iterator[Pod]:
    """The worker after its topics' job."""
    _run(rendered.one("Job")["spec"]["template"]["spec"]["containers"][0], tmp_path)
    pod = Pod(rendered.worker(), tmp_path, port)
    yield pod
    pod.process.kill()
    pod.process.wait()


def _run(container: Object, folder: Path) -> None:
    pod = Pod(container, folder, 0)
    assert pod.process.wait(timeout=300) == 0, pod.said()


async def test_a_pod_starts_is_probed_and_drains(rendered: Rendered, worker: Pod, tmp_path: Path) -> None:
    container = rendered.worker()
    startup, liveness = container["startupProbe"]["httpGet"]["path"], container["livenessProbe"]["httpGet"]["path"]
    await until(lambda: worker.answers(startup), seconds=180)
    assert worker.answers(liveness)
    assert "moderation_partitions_assigned 2.0" in worker.metrics()
    await asyncio.to_thread(_run, rendered.one("Pod")["spec"]["containers"][0], tmp_path)  # `helm test`
    worker.process.send_signal(signal.SIGTERM)
    grace = rendered.pod()["terminationGracePeriodSeconds"]
    assert await asyncio.to_thread(worker.process.wait, grace) == 0, worker.said()
