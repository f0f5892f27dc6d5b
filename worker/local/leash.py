"""Keeps a process on a leash: when its owner is gone, however it went, the process and its scratch directory go too.

Run as a script by its path (it imports nothing of this project, so it starts quickly and survives any state of it):

    python -I -S leash.py LOG_FILE SCRATCH_DIRECTORY COMMAND [ARGUMENT ...]

The owner holds the other end of standard input and never writes: end of file means that the owner let go, died or was
killed. The first line on standard output is the command's process id. The exit status is the command's own.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main(log_file: str, scratch: str, *command: str) -> int:
    """Run `command` until it ends or the owner is gone; returns its exit status (-n: killed by signal n)."""
    owner = os.getppid()
    bell, hammer = os.pipe()
    os.set_blocking(hammer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the wake-up pipe below needs a handler, not the default
    signal.set_wakeup_fd(hammer, warn_on_full_buffer=False)
    with Path(log_file).open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - the owner's own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=scratch,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - unsafe beside threads, and there are none here
        )
    os.write(1, f"{child.pid}\n".encode())
    if _owner_left(child, owner, bell):
        child.kill()
        child.wait()
        shutil.rmtree(scratch, ignore_errors=True)
    return child.wait()


def _owner_left(child: subprocess.Popen[bytes], owner: int, bell: int) -> bool:
    """Wait for the child's end (False) or the owner's (True)."""
    while child.poll() is None:
        # The second's timeout is for an owner whose forked children keep the pipe open after its death.
        ready, _, _ = select.select([0, bell], [], [], 1.0)
        if 0 in ready or os.getppid() != owner:
            return True
        if bell in ready:
            os.read(bell, 512)
    return False


def _die_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel kills the child even if this process is killed; elsewhere nothing does."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: nothing but the call itself happens after it
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
