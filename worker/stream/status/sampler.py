"""Takes a reading of the metrics once a second, on a thread of its own."""

import threading

import faust
import structlog

from worker.stream.status.history import History

log = structlog.get_logger(__name__)

_SECONDS = 1.0


class Sampler(faust.Service):  # type: ignore[misc]
    """Runs as long as the worker. The event loop only starts and stops it."""

    def __init__(self, history: History, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._history = history
        self._over = threading.Event()

    async def on_start(self) -> None:
        """Starts the thread."""
        threading.Thread(target=self._run, name="status", daemon=True).start()

    async def on_stop(self) -> None:
        """Lets the thread end."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(_SECONDS):
            try:
                self._history.sample()
            except Exception as error:  # a page that lacks a point must not stand still for ever
                log.warning("no reading for the status page", exception=type(error).__name__)
