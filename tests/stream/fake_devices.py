"""`python -m tests.stream.fake_devices cpu,cpu`: `moderation-worker run --devices` with fake workers."""

import asyncio
import sys

from worker.devices.supervisor import devices_of, run_on_devices
from worker.observability.logs import configure_logs
from worker.settings import load_settings

if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    command = ("-m", "tests.stream.fake_worker")
    sys.exit(asyncio.run(run_on_devices(devices_of(sys.argv[1]), settings, command)))
