"""A broker of our own: it can be killed, paused and restarted, and it does not outlive its owner."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from worker.local.broker import KafkaUnavailable
from worker.local.jars import KAFKA_VERSION
from worker.local.jvm_broker import LEASH, JvmBroker
from worker.local.ports import PORTS, broker_answers, free_ports
from worker.stream.kafka.topics import TopicSpec, create_topics


def test_ports_are_free_different_and_outside_the_ephemeral_range() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(port in PORTS and port < 32_768 and not broker_answers("127.0.0.1", port) for port in ports)


# -- the leash, with a process that is no broker


def leash(tmp_path: Path, *command: str) -> subprocess.Popen[bytes]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = [sys.executable, "-I", "-S", str(LEASH), str(tmp_path / "log"), str(scratch), *command]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_leash_ends_its_process_when_let_go(tmp_path: Path) -> None:
    with leash(tmp_path, "sleep", "600") as held:
        assert held.stdin and held.stdout
        child = int(held.stdout.readline())
        assert alive(child)
        held.stdin.close()
        assert held.wait(60) == 256 - signal.SIGKILL
        assert not alive(child) and not (tmp_path / "scratch").exists()


def test_the_leash_ends_with_its_process(tmp_path: Path) -> None:
    with leash(tmp_path, "sh", "-c", "echo words; exit 7") as held:
        assert held.wait(60) == 7
    assert (tmp_path / "log").read_text() == "words\n"
    assert (tmp_path / "scratch").exists()  # its owner lives and may start it again


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_leash_takes_its_process_along(tmp_path: Path) -> None:
    with leash(tmp_path, "sleep", "600") as held:
        assert held.stdout
        child = int(held.stdout.readline())
        held.kill()
        assert within(60, lambda: not alive(child))


# -- a real broker


@pytest.fixture(scope="module")
def broker() -> Iterator[JvmBroker]:
    try:
        with JvmBroker() as running:
            yield running
    except KafkaUnavailable as cause:
        pytest.skip(f"needs a JVM: {cause}")


@pytest.mark.kafka
class TestJvmBroker:
    def test_answers_when_started(self, broker: JvmBroker) -> None:
        host, port = broker.bootstrap_servers.split(":")
        assert within(60, lambda: broker_answers(host, int(port)))
        assert broker.running and alive(broker.pid)
        assert broker.describe() == f"Apache Kafka {KAFKA_VERSION} on a local JVM at {broker.bootstrap_servers}"
        assert within(60, lambda: "Kafka Server started" in broker.log_tail(100))

    def test_keeps_its_data_when_killed(self, broker: JvmBroker) -> None:
        topic = make_topic(broker)
        asyncio.run(send(broker, topic, b"before"))
        first = broker.pid

        broker.kill()
        assert not broker.running and not alive(first)
        with pytest.raises(RuntimeError, match="not running"):
            broker.pause()

        broker.restart()
        assert broker.pid != first
        asyncio.run(send(broker, topic, b"after"))
        assert asyncio.run(receive(broker, topic, 2)) == [b"before", b"after"]

    def test_pauses_and_resumes(self, broker: JvmBroker) -> None:
        host, port = broker.bootstrap_servers.split(":")
        broker.pause()
        assert broker.running and not broker_answers(host, int(port), timeout=0.5)
        broker.resume()
        assert within(60, lambda: broker_answers(host, int(port)))

    def test_stops_in_order_even_when_paused(self, broker: JvmBroker) -> None:
        broker.pause()
        broker.stop()
        assert not broker.running
        assert "App info kafka.server for 1 unregistered" in broker.log_tail()  # the last words of a good end
        broker.start()

    def test_shows_its_log_when_it_does_not_start(self) -> None:
        broken = JvmBroker(properties={"message.max.bytes": "many"})
        with pytest.raises(KafkaUnavailable, match=r"message\.max\.bytes"):
            broken.start()
        broken.close()

    def test_a_port_in_use_is_said_by_its_log(self, broker: JvmBroker) -> None:
        class Rival(JvmBroker):
            def address(self, listener: str) -> str:
                return broker.address(listener)

        with pytest.raises(KafkaUnavailable, match=r"ended while starting(.|\n)*Address already in use"), Rival():
            pass

    def test_goes_when_its_owner_is_killed(self, broker: JvmBroker) -> None:
        """`broker` only makes sure that a JVM can be had."""
        script = (
            "import time; from worker.local.jvm_broker import JvmBroker\n"
            "with JvmBroker() as b: print(b.pid, b._scratch, flush=True); time.sleep(600)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout
            pid, scratch = owner.stdout.readline().split()
            group = os.getpgid(int(pid))
            assert alive(int(pid)) and Path(scratch).exists()
            owner.kill()
        assert within(60, lambda: not Path(scratch).exists())
        assert within(60, lambda: not group_alive(group))

    def test_as_a_program_until_it_is_told_to_stop(self, broker: JvmBroker) -> None:
        command = [sys.executable, "-m", "worker.local.kafka"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stdout and program.stderr
            host, port = program.stdout.readline().strip().split(":")
            assert within(60, lambda: broker_answers(host, int(port)))
            program.terminate()
            assert program.wait(60) == 0
            assert "Ctrl-C stops it" in program.stderr.read()
        assert not broker_answers(host, int(port))


def alive(pid: int) -> bool:
    """Whether the process exists; a zombie whose parent has not asked yet does not count."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout.strip()
    return bool(state) and not state.startswith(b"Z")


def group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in time: of another process's end nothing tells us."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def make_topic(broker: JvmBroker) -> str:
    (result,) = asyncio.run(create_topics([TopicSpec("kept", 1, 1)], bootstrap_servers=broker.bootstrap_servers))
    assert result.created
    return result.name


async def send(broker: JvmBroker, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        await producer.send_and_wait(topic, value)


async def receive(broker: JvmBroker, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(60):
        return [(await consumer.getone()).value for _ in range(count)]
