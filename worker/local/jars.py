"""A Java to run Kafka with, and Kafka's jars: fetched once by Maven into the user's cache directory."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.local.broker import KafkaUnavailable, Say, silent

KAFKA_VERSION = "4.2.0"
LOG4J_VERSION = "2.25.3"  # the one that this Kafka depends on
OLDEST_JAVA = 17  # Kafka 4 brokers need it
FETCH_TIMEOUT_S = 900
MARKER = "complete.json"

# Kafka's own dependencies hold log4j but no binding to it: without the second one, a broker that fails says nothing.
POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>moderation-worker</groupId><artifactId>local-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def find_java() -> Path:
    """The `java` of JAVA_HOME, else of PATH.

    Raises KafkaUnavailable if there is none, or if it is older than `OLDEST_JAVA`.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise KafkaUnavailable(f"no Java: install a Java runtime of version {OLDEST_JAVA} or newer, or set JAVA_HOME")
    version = _java_version(found)
    if version < OLDEST_JAVA:
        raise KafkaUnavailable(f"{found} is Java {version}: Kafka {KAFKA_VERSION} needs {OLDEST_JAVA} or newer")
    return Path(found)


def kafka_jars(say: Say = silent) -> Path:
    """The directory with Kafka's jars, filled at the first call. Any number of processes may call this at once.

    Raises KafkaUnavailable if the jars are not there yet and Maven is missing or fails.
    """
    directory = cache_directory() / f"kafka-{KAFKA_VERSION}"
    if _complete(directory):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(f"{directory.name}.lock")):
        if not _complete(directory):  # another process may have filled it while this one waited
            _fill(directory, say)
    return directory


def cache_directory() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/moderation-worker`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moderation-worker"


def _java_version(java: str) -> int:
    """The feature version, 17 for "17.0.15"; 0 if it cannot be found out."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(version[1]) if version else 0


def _complete(directory: Path) -> bool:
    """Whether every jar that the marker lists is there in its full size. The marker is written last."""
    try:
        sizes: dict[str, int] = json.loads((directory / MARKER).read_text())
        return bool(sizes) and all((directory / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; the kernel gives it back even when this process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(directory: Path, say: Say) -> None:
    """Fetch into a temporary neighbour, mark it complete, then rename: nobody ever sees a half-filled directory."""
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable("Java is here but not Maven, which fetches Kafka's jars: install `mvn`")
    say(f"fetching Apache Kafka {KAFKA_VERSION} with Maven, once: 43 MB")
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="fetching-") as name:
        scratch, jars = Path(name), Path(name, "jars")
        _run_maven(maven, scratch, jars)
        sizes = {jar.name: jar.stat().st_size for jar in sorted(jars.glob("*.jar"))}
        if f"kafka_2.13-{KAFKA_VERSION}.jar" not in sizes:
            raise KafkaUnavailable(f"Maven ended well but fetched no Kafka, only {len(sizes)} jars")
        (jars / MARKER).write_text(json.dumps(sizes, indent=1))
        shutil.rmtree(directory, ignore_errors=True)  # an incomplete one of an earlier time
        jars.rename(directory)


def _run_maven(maven: str, scratch: Path, jars: Path) -> None:
    (scratch / "pom.xml").write_text(POM)
    command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as cause:
        raise KafkaUnavailable(f"Maven did not fetch Kafka within {FETCH_TIMEOUT_S} s") from cause
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise KafkaUnavailable(f"Maven could not fetch Kafka (exit {done.returncode}):\n{tail}")
