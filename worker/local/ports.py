"""Free loopback ports for a broker, and the question whether a broker answers on one."""

import contextlib
import random
import socket
import struct

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port while its broker restarts.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nothing uses, drawn at random so that two processes hardly ever draw the same.

    Raises OSError if a hundred tries for each do not give enough.
    """
    free: list[int] = []
    for port in random.sample(PORTS, 100 * count):
        if len(free) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            free.append(port)
    if len(free) < count:
        raise OSError(f"no {count} free ports on {LOOPBACK} between {PORTS.start} and {PORTS.stop - 1}")
    return free


def broker_answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether a broker with a plaintext listener answers, within `timeout` seconds, that it carries topics.

    A broker takes requests a moment before it takes part in its cluster; until then its metadata (request 3, version
    4) lists no broker and no topic can be created.
    """
    client = b"local"
    request = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">i?", 0, False)  # of no topic
    try:
        with socket.create_connection((host, port), timeout) as connection, connection.makefile("rb") as answer:
            connection.sendall(struct.pack(">i", len(request)) + request)
            _size, _correlation, _throttle_ms, brokers = struct.unpack(">iiii", answer.read(16))
            return bool(brokers)
    except (OSError, struct.error):
        return False
