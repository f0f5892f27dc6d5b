"""A Kafka broker of our own: Apache Kafka in KRaft mode on a JVM, one node, on loopback, data in a scratch directory.

It lives no longer than its owner, however that ends (see `leash.py`). For chaos tests it can be killed, paused and
restarted on the same ports with the same data.
"""

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.local.broker import BROKER_SETTINGS, HEAP, KafkaUnavailable, Kind, Say, silent
from worker.local.jars import KAFKA_VERSION, find_java, kafka_jars
from worker.local.ports import LOOPBACK, broker_answers, free_ports

LEASH = Path(__file__).with_name("leash.py")
START_TIMEOUT_S = 120.0  # five on a free machine; many more where all cores are busy
STOP_TIMEOUT_S = 30.0

# Without its own hook log4j keeps what the broker says while it shuts down.
LOG4J = """\
shutdownHook = disable
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss,SSS} %p %c{1}: %m%n
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = WARN
"""


class JvmBroker:
    """One broker process. Not thread-safe; use it as a context manager, or call `start` and `close`."""

    kind: Kind = "jvm"

    def __init__(
        self,
        *,
        properties: Mapping[str, str] | None = None,
        extra_listeners: Mapping[str, str] | None = None,
        say: Say = silent,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            properties: broker settings on top of, or instead of, those of `BROKER_SETTINGS`.
            extra_listeners: further listeners, name to security protocol, such as `{"USERS": "SASL_PLAINTEXT"}`;
                their addresses are given by `address`. The main one, LOCAL, is always PLAINTEXT.
            say: takes progress.
        """
        names = {"LOCAL": "PLAINTEXT", **(extra_listeners or {}), "CONTROLLER": "PLAINTEXT"}
        self._protocols = names
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._properties = dict(properties or {})
        self._say = say
        self._scratch: Path | None = None
        self._leash: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def bootstrap_servers(self) -> str:
        return self.address("LOCAL")

    def address(self, listener: str) -> str:
        """`host:port` of a listener."""
        return f"{LOOPBACK}:{self._ports[listener]}"

    @property
    def pid(self) -> int:
        """The JVM's process id. Raises RuntimeError when it is not running."""
        if not self.running:
            raise RuntimeError("the broker is not running")
        return self._pid

    @property
    def running(self) -> bool:
        """True from `start` until the process ends; a paused broker is running."""
        return self._leash is not None and self._leash.poll() is None

    def describe(self) -> str:
        return f"Apache Kafka {KAFKA_VERSION} on a local JVM at {self.bootstrap_servers}"

    def log_tail(self, lines: int = 30) -> str:
        """The end of the broker's log."""
        log = self._directory / "broker.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"

    def start(self) -> None:
        """Start the broker, on its earlier data if it ran before; returns when clients can use it.

        Raises KafkaUnavailable, with the tail of the log, if it does not start within `START_TIMEOUT_S`, or if Java or
        Kafka's jars cannot be had.
        """
        if self.running:
            return
        java, jars = find_java(), kafka_jars(self._say)
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="moderation-kafka-"))
            self._say(f"starting Apache Kafka {KAFKA_VERSION} on {self.bootstrap_servers}")
            self._configure()
            self._format(java, jars)
        options = [HEAP, f"-Dlog4j2.configurationFile={self._scratch / 'log4j2.properties'}", "-cp", f"{jars}/*"]
        self._launch([str(java), *options, "kafka.Kafka", str(self._scratch / "server.properties")])
        self._wait_until_ready()

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power; returns when the process is gone. Data stays for `restart`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: an orderly shutdown; SIGKILL if it takes longer than `STOP_TIMEOUT_S`. Data stays for `restart`."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again on the same ports with the same data, after an orderly stop if it still runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers; returns when its last thread stands still (Linux)."""
        os.kill(self.pid, signal.SIGSTOP)
        while not _stands_still(self.pid):
            time.sleep(0.005)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill the broker and remove its data. Safe to call twice."""
        self.kill()  # its data goes too: an orderly shutdown would save nothing
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _directory(self) -> Path:
        if self._scratch is None:
            raise RuntimeError("the broker was never started, or was closed")
        return self._scratch

    def _configure(self) -> None:
        clients = [name for name in self._ports if name != "CONTROLLER"]
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{self.address('CONTROLLER')}",
            "listeners": ",".join(f"{name}://{self.address(name)}" for name in self._ports),
            "advertised.listeners": ",".join(f"{name}://{self.address(name)}" for name in clients),
            "listener.security.protocol.map": ",".join(f"{n}:{protocol}" for n, protocol in self._protocols.items()),
            "inter.broker.listener.name": "LOCAL",
            "log.dirs": str(self._directory / "data"),
            **BROKER_SETTINGS,
            **self._properties,
        }
        (self._directory / "server.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in settings.items())
        )
        (self._directory / "log4j2.properties").write_text(LOG4J)

    def _format(self, java: Path, jars: Path) -> None:
        """Write the data directory's identity, which KRaft wants before the first start (about a second)."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # `=` keeps a leading dash of the id from being read as an option.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", "server.properties"]
        command = [str(java), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", *tool]
        try:
            subprocess.run(  # noqa: S603
                command, cwd=self._directory, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=True
            )
        except subprocess.CalledProcessError as error:
            self.close()  # a half-made directory must not be taken for data by a later start
            raise KafkaUnavailable(f"Kafka refuses its settings:\n{error.stdout}{error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            self.close()
            raise KafkaUnavailable(f"Java did not get anywhere in {START_TIMEOUT_S:.0f} s") from error

    def _launch(self, command: list[str]) -> None:
        leash = [sys.executable, "-I", "-S", str(LEASH), str(self._directory / "broker.log"), str(self._directory)]
        # Its own session: a Ctrl-C in the owner's terminal reaches the owner alone, who then decides.
        self._leash = subprocess.Popen(  # noqa: S603
            [*leash, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._leash.stdout is not None
        pid = self._leash.stdout.readline()
        if not pid:  # never keep a 0: a signal to it would hit our own process group
            self._reap()
            raise KafkaUnavailable(f"Java could not be run: {command[0]}")
        self._pid = int(pid)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not broker_answers(LOOPBACK, self._ports["LOCAL"]):
            if not self.running:
                raise KafkaUnavailable(f"Kafka ended while starting; the end of its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                tail = self.log_tail()
                self.kill()
                raise KafkaUnavailable(
                    f"Kafka did not start within {START_TIMEOUT_S:.0f} s; the end of its log:\n{tail}"
                )
            time.sleep(0.1)  # another process's start gives no event to wait for

    def _end(self, how: signal.Signals) -> None:
        if self._leash is None:
            return
        self._signal(how)
        self._signal(signal.SIGCONT)  # a paused process would not see SIGTERM
        try:
            self._leash.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may end by itself at any moment
            if self.running:
                os.kill(self._pid, number)

    def _reap(self) -> None:
        """Wait for the leash, which ends with its process, and close the pipes to it."""
        assert self._leash is not None
        with self._leash:
            self._leash.wait(STOP_TIMEOUT_S)
        self._leash = None


def _stands_still(pid: int) -> bool:
    """Whether all threads are stopped; always true where there is no /proc to see it."""
    try:
        stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread that ended between the listing and the reading
        return False
    return all(stat.rpartition(")")[2].split()[0] in "Tt" for stat in stats)
