"""Enforces verdicts: `python consume.py`; prints a line of JSON for each one, until SIGTERM or Ctrl-C.

Environment: BOOTSTRAP_SERVERS, VERDICT_TOPICS (comma-separated), GROUP_ID.
"""

import asyncio
import json
import logging
import os
import signal

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError
from aiokafka.structs import ConsumerRecord

BOOTSTRAP_SERVERS = os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092")
VERDICT_TOPICS = os.environ.get(
    "VERDICT_TOPICS", "moderation.verdicts.safe,moderation.verdicts.unsafe,moderation.verdicts.review"
).split(",")
GROUP_ID = os.environ.get("GROUP_ID", "enforcement")
MOST_SEEN = 100_000

log = logging.getLogger("consume")


class Seen:
    """The latest ids, in memory. A real system has a unique key on verdict_id in its database instead, and enforces in
    the same transaction: that holds over restarts, and between the consumers of a group."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: dict[str, None] = {}  # in the order of arrival

    def __contains__(self, verdict_id: str) -> bool:
        return verdict_id in self._ids

    def add(self, verdict_id: str) -> None:
        """Remembers it, and forgets the oldest one beyond the bound."""
        self._ids[verdict_id] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]


def enforce(headers: dict[str, str], record: ConsumerRecord) -> None:
    """What follows from a verdict: here, a line. The value (reasons, scores) need not be read."""
    match headers["moderation-label"]:
        case "safe":
            action = "show"
        case "unsafe":
            action = "remove"
        case _:  # review, and whatever a later version may say
            action = "hold"
    verdict = {
        "verdict_id": headers["ce_id"],
        "event_id": headers["ce_subject"],
        "label": headers["moderation-label"],
        "categories": [each for each in headers["moderation-categories"].split(",") if each],
        "action": action,
        "topic": record.topic,
    }
    print(json.dumps(verdict), flush=True)


def handle(record: ConsumerRecord, seen: Seen) -> None:
    """Enforces a verdict once, however often it comes."""
    headers = {name: (value or b"").decode() for name, value in record.headers}
    verdict_id = headers["ce_id"]
    if verdict_id in seen:
        log.info("%s was there before", verdict_id)
        return
    enforce(headers, record)
    seen.add(verdict_id)  # after it: what fails in between is enforced again, never skipped


async def consume(stop: asyncio.Event) -> None:
    """Enforces until `stop` is set. Raises KafkaError."""
    seen = Seen(MOST_SEEN)
    async with AIOKafkaConsumer(
        *VERDICT_TOPICS,
        bootstrap_servers=BOOTSTRAP_SERVERS,
        group_id=GROUP_ID,
        auto_offset_reset="earliest",  # a new group misses nothing
        enable_auto_commit=False,
    ) as consumer:
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=500, max_records=500)  # as many as are enforced within seconds
            for records in fetched.values():
                for record in records:
                    handle(record, seen)
            if fetched:
                try:
                    await consumer.commit()  # after all of them were enforced
                except CommitFailedError:
                    log.warning("the partitions went to another member; it gets these verdicts again")


async def main() -> None:
    """Runs until a signal."""
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await consume(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    asyncio.run(main())
