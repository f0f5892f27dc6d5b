"""A Java of the right age, and Kafka's jars fetched once: by fake programs on an empty PATH."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.local.broker import KafkaUnavailable
from worker.local.jars import KAFKA_VERSION, cache_directory, find_java, kafka_jars


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], Path]:
    """An empty PATH and cache; the function adds a shell script to that PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def add(name: str, script: str) -> Path:
        program = directory / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")
        program.chmod(0o755)
        return program

    return add


Programs = Callable[[str, str], Path]
FAKE_MAVEN = f"""\
for argument; do case $argument in -DoutputDirectory=*) jars=${{argument#*=}};; esac; done
mkdir -p "$jars"; echo kafka > "$jars/kafka_2.13-{KAFKA_VERSION}.jar"; echo scala > "$jars/scala.jar"
echo run >> "$XDG_CACHE_HOME/runs"
"""


def java(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2025-01-01' >&2"


def test_java_of_the_path_and_of_java_home(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaUnavailable, match="install a Java runtime of version 17"):
        find_java()
    of_path = programs("java", java("17.0.15"))
    assert find_java() == of_path
    of_home = programs("home/bin/java", java("21"))
    monkeypatch.setenv("JAVA_HOME", str(of_home.parent.parent))
    assert find_java() == of_home


@pytest.mark.parametrize(("version", "feature"), [("1.8.0_392", 8), ("11.0.2", 11)])
def test_old_java_is_refused(programs: Programs, version: str, feature: int) -> None:
    programs("java", java(version))
    with pytest.raises(KafkaUnavailable, match=f"is Java {feature}: .* needs 17"):
        find_java()


def test_jars_are_fetched_once(programs: Programs) -> None:
    programs("mvn", FAKE_MAVEN)
    said: list[str] = []
    directory = kafka_jars(said.append)
    assert directory == kafka_jars(said.append) == cache_directory() / f"kafka-{KAFKA_VERSION}"
    assert said == [f"fetching Apache Kafka {KAFKA_VERSION} with Maven, once: 43 MB"]
    assert sorted(json.loads((directory / "complete.json").read_text())) == [
        f"kafka_2.13-{KAFKA_VERSION}.jar",
        "scala.jar",
    ]


def test_a_damaged_cache_is_fetched_again(programs: Programs) -> None:
    programs("mvn", FAKE_MAVEN)
    jar = kafka_jars() / "scala.jar"
    jar.write_text("")
    kafka_jars()
    assert jar.read_text() == "scala\n"


def test_two_processes_fetch_once(programs: Programs) -> None:
    programs("mvn", f"sleep 0.3\n{FAKE_MAVEN}")
    fetch = [sys.executable, "-c", "from worker.local.jars import kafka_jars; kafka_jars()"]
    cache_directory().mkdir(parents=True)
    processes = [subprocess.Popen(fetch) for _ in range(3)]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert (cache_directory().parent / "runs").read_text() == "run\n"


def test_maven_missing_or_failing(programs: Programs) -> None:
    with pytest.raises(KafkaUnavailable, match="install `mvn`"):
        kafka_jars()
    programs("mvn", "echo no route to host; exit 3")
    with pytest.raises(KafkaUnavailable, match=r"\(exit 3\):\nno route to host"):
        kafka_jars()
    programs("mvn", "exit 0")
    with pytest.raises(KafkaUnavailable, match="fetched no Kafka"):
        kafka_jars()
    assert [path.name for path in cache_directory().iterdir()] == [f"kafka-{KAFKA_VERSION}.lock"]
