"""Sends chat events: `python produce.py CONVERSATION TEXT...`; prints a line of JSON for each one that Kafka has.

Environment: BOOTSTRAP_SERVERS, EVENTS_TOPIC.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

BOOTSTRAP_SERVERS = os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092")
EVENTS_TOPIC = os.environ.get("EVENTS_TOPIC", "chat.events")


def chat_event(conversation_id: str, text: str) -> dict[str, object]:
    """An event of one user message. A real one has the conversation so far before it: the last message is judged."""
    return {
        "event_id": str(uuid.uuid4()),  # yours: the message's id in your database
        "conversation_id": conversation_id,
        "messages": [{"role": "user", "content": text}],
        "occurred_at": datetime.now(UTC).isoformat(),
    }


async def produce(conversation_id: str, texts: list[str]) -> None:
    """Sends all of them, then waits for the broker's answers. Raises KafkaError."""
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP_SERVERS,
        acks="all",
        enable_idempotence=True,  # a retry makes no second event
    ) as producer:
        on_their_way = []
        for text in texts:
            event = chat_event(conversation_id, text)
            # The conversation is the key: its events stay in one partition, and so do their verdicts, in order.
            sent = await producer.send(EVENTS_TOPIC, json.dumps(event).encode(), key=conversation_id.encode())
            on_their_way.append((event["event_id"], sent))
        for event_id, sent in on_their_way:
            place = await sent
            print(json.dumps({"event_id": event_id, "partition": place.partition, "offset": place.offset}))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: produce.py CONVERSATION TEXT...")
    asyncio.run(produce(sys.argv[1], sys.argv[2:]))
