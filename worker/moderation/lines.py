"""Chat events as lines of JSON in, verdicts as lines of JSON out: the moderator without Kafka."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice

import orjson

from worker.contract.chat_event import read_chat_event
from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.moderation.moderator import Moderator
from worker.moderation.request import Request
from worker.policy.store import PolicyStore

_AT_ONCE = 256  # lines on their way: enough for full batches


class LineJudge:
    """Judges lines; one line comes out for each that goes in, in their order."""

    def __init__(self, moderator: Moderator, policies: PolicyStore, *, source: str, default_policy: str | None = None):
        """`source`: what verdicts name as their source's topic. `default_policy`: for events that name none."""
        self._moderator, self._policies = moderator, policies
        self._source, self._default_policy = source, default_policy
        self.malformed = 0  # lines that could not be judged so far

    async def judge(self, lines: Iterable[bytes]) -> AsyncIterator[bytes]:
        """The verdict, or an error object, of each line. Reads ahead no further than a few batches."""
        numbered = enumerate(lines)
        on_the_way: deque[asyncio.Task[bytes]] = deque()
        reading: asyncio.Task[tuple[int, bytes] | None] | None = asyncio.create_task(_read(numbered))
        try:
            while reading or on_the_way:
                if on_the_way and (not reading or on_the_way[0].done() or len(on_the_way) >= _AT_ONCE):
                    yield await on_the_way.popleft()
                elif reading and not reading.done():  # the next line may be long in coming: answers do not wait for it
                    await asyncio.wait([reading, *islice(on_the_way, 1)], return_when=asyncio.FIRST_COMPLETED)
                elif reading and (line := reading.result()) is not None:
                    on_the_way.append(asyncio.create_task(self._judge_line(*line)))
                    reading = asyncio.create_task(_read(numbered))
                else:
                    reading = None
        finally:
            for task in (*on_the_way, *([reading] if reading else [])):
                task.cancel()

    async def _judge_line(self, number: int, line: bytes) -> bytes:
        try:
            event = read_chat_event(line)
            if event.policy is None and self._default_policy is not None:
                event = event.model_copy(update={"policy": self._default_policy})
            policy = self._policies.for_event(event)
            record = PlainRecord(self._source, 0, number)
            verdict = await self._moderator.judge(Request.about(event, policy, record, time.monotonic()))
        except Unjudgeable as cause:
            self.malformed += 1
            error = {"type": cause.error_type, "stage": cause.stage.value, "message": cause.message}
            return orjson.dumps({"line": number + 1, "error": error})
        return verdict.to_json()


async def _read(lines: Iterator[tuple[int, bytes]]) -> tuple[int, bytes] | None:
    """The next line, or None after the last. Reading may block, so a thread does it."""
    return await asyncio.to_thread(next, lines, None)


def event_of_text(text: str, number: int) -> bytes:
    """A chat event of one user message. Bytes of the command line that are not UTF-8 become U+FFFD."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return orjson.dumps(
        {
            "event_id": f"text-{number}",
            "conversation_id": f"text-{number}",
            "messages": [{"role": "user", "content": text}],
        }
    )


def without_line_ends(lines: Iterable[bytes], seen: Callable[[int], None]) -> Iterator[bytes]:
    """The lines bare; `seen` is told each line's bytes."""
    for line in lines:
        seen(len(line))
        yield line.rstrip(b"\r\n")
