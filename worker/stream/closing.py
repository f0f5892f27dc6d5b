"""Closing a part, whatever it says to that: those behind it are closed as well."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


async def closed(close: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Awaits it; what it raised, if anything, which is logged.

    aiokafka's consumer may raise CancelledError where nobody cancelled us: it awaits a fetch that it has cancelled
    itself, which waits for a broker that is away. Our own cancellation is raised.
    """
    try:
        await close()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _told(error)
    except Exception as error:
        return _told(error)
    return None


def _told(error: BaseException) -> BaseException:
    log.warning("not closed in order", cause=f"{type(error).__name__}: {error}")
    return error
