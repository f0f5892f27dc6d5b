"""`python -m tests.stream.fake_worker`: a whole worker whose guards are fakes, quick enough for thousands of events.

The guards know no chance: "bomb" is S9, "ignore" is an attack. FAKE_DELAY is the seconds that a batch takes. Words in a
text that do something to the worker: "LOSE-THE-DEVICE" raises what ends the process, "KILL" and "KILL-IN-PREPARATION"
end it at once (SIGKILL, on the device's or on a CPU thread), "HANG" never returns, "BREAK" raises for this check alone.
FAKE_HARMLESS names one of them that does nothing. FAKE_LOAD_SECONDS is the time
that loading takes.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from tests.fakes import FakeGuard, fake_prompt_guard
from worker.contract.chat_event import ChatEvent
from worker.guards.guard import Finding, Guard, Preparation
from worker.guards.turns import turns_of
from worker.observability.logs import configure_logs
from worker.policy.policy import Policy
from worker.settings import Settings, load_settings
from worker.stream.app import create_app
from worker.stream.host import host


def _content(text: str) -> Finding:
    if _says(text, "LOSE-THE-DEVICE"):
        raise RuntimeError("CUDA error: the fake device is lost")  # as torch has it
    if _says(text, "KILL "):
        os.kill(os.getpid(), signal.SIGKILL)
    if _says(text, "HANG"):
        sys.stderr.write("the fake guard hangs\n")
        sys.stderr.flush()
        time.sleep(3600)
    if _says(text, "BREAK"):
        raise ValueError("the fake guard broke")
    return Finding(0.9, ("S9",), {"S9": 0.8}) if "bomb" in text else Finding(0.1)


class _Killable(FakeGuard):
    """Content may kill its preparation, as a broken image kills a decoder written in C."""

    def prepare(self, event: ChatEvent, policy: Policy) -> Preparation:
        if _says(turns_of(event)[-1].text, "KILL-IN-PREPARATION"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(event, policy)


def _says(text: str, word: str) -> bool:
    return word in text and os.environ.get("FAKE_HARMLESS") != word


def _guards(_settings: Settings, _say: Callable[[str], None]) -> Sequence[Guard]:
    if "FAKE_LOAD_SECONDS" in os.environ:
        sys.stderr.write("the fake models load\n")
        sys.stderr.flush()
        time.sleep(float(os.environ["FAKE_LOAD_SECONDS"]))
    delay = float(os.environ.get("FAKE_DELAY", "0"))
    llama_guard = _Killable("llama_guard", _content, delay)
    return llama_guard, fake_prompt_guard(lambda text: 0.99 if "ignore" in text else 0.01)


if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    sys.exit(host(create_app(settings, _guards)))
