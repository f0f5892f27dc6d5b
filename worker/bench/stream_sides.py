"""The two sides of the stream's benchmark, each in a process of its own: `python -m worker.bench.stream_sides SIDE`."""

import asyncio
import os
import sys
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from worker.bench.free_guard import costly_guards, free_guards, slow_guards
from worker.contract.record import Headers
from worker.contract.verdict import spelled_id_of
from worker.observability.logs import configure_logs
from worker.settings import load_settings
from worker.stream.app import create_app
from worker.stream.host import host
from worker.stream.start import LoadGuards


async def plain_loop(linger_ms: int, headers_of: Callable[[ConsumerRecord], Headers]) -> None:
    """The least that any consume-produce worker does: no parsing, no order, no prefix, commits by time."""
    bootstrap = os.environ["MODERATION_BOOTSTRAP_SERVERS"]
    consumer = AIOKafkaConsumer(
        os.environ["MODERATION_INPUT_TOPIC"],
        bootstrap_servers=bootstrap,
        group_id=os.environ["MODERATION_GROUP"],
        auto_offset_reset="earliest",
        enable_auto_commit=True,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        compression_type="zstd",
        linger_ms=linger_ms,
        max_batch_size=256 << 10,
    )
    await consumer.start()
    await producer.start()
    while True:
        for records in (await consumer.getmany(timeout_ms=200, max_records=1024)).values():
            for record in records:
                await producer.send(
                    os.environ["MODERATION_SAFE_TOPIC"], record.value, record.key, headers=list(headers_of(record))
                )


def answering(record: ConsumerRecord) -> Headers:
    """Headers by which a stress run knows what this answers."""
    verdict_id = spelled_id_of(record.topic, record.partition, record.offset, record.timestamp)
    return (("ce_id", verdict_id.encode()),)


def worker(guards: LoadGuards) -> None:
    """The real worker."""
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    sys.exit(host(create_app(settings, guards)))


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        asyncio.run(plain_loop(5, lambda _record: ()))
    elif sys.argv[1] == "answering":
        asyncio.run(plain_loop(2, answering))  # the worker's own gathering time
    else:
        worker({"worker": free_guards, "slow": slow_guards, "costly": costly_guards}[sys.argv[1]])
