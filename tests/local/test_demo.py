"""The demo as a user runs it: everything in one command, on a Kafka that runs already."""

import re
import subprocess
import sys

from worker.local.broker import LocalKafka

PATIENCE = 400  # seconds; the stand-ins judge about 20 events a second on two busy cores


def test_the_demo_proves_its_sum(kafka: LocalKafka) -> None:
    command = [sys.executable, "-m", "worker", "demo", "--bootstrap", kafka.bootstrap_servers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    total = re.search(r"(\d+) in = (\d+) safe \+ (\d+) unsafe \+ (\d+) review \+ (\d+) dead letter", done.stdout)
    assert total, done.stdout[-3000:]
    sent, *parts = map(int, total.groups())
    assert sent == sum(parts) >= 400
    assert all(parts), "every outcome should be there to be seen"
    assert done.stdout.count("example: ") == 3
    assert "0 missing, 0 repeated, 0 unknown" in done.stdout
