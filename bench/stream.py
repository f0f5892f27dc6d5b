"""What the stream costs: the worker with free guards against a plain aiokafka loop, in turn, on one Kafka.

`python -m bench.stream [--events 60000] [--rounds 3]`. Prints events/s of both and their ratio; quote the ratio:
absolute numbers are the machine's.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import uuid

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from worker.local.kafka import local_kafka
from worker.stream.topics import TopicSpec, create_topics

PARTITIONS = 4
OUTPUTS = ("safe_topic", "unsafe_topic", "review_topic", "dead_letter_topic")


def event(number: int) -> bytes:
    """A chat event of about 200 bytes."""
    text = f"hello, this is message {number} of a friendly conversation about gardens and bicycles"
    messages = [{"role": "user", "content": text}]
    return orjson.dumps({"event_id": f"e{number}", "conversation_id": f"c{number % 500}", "messages": messages})


async def fill(bootstrap: str, topic: str, count: int) -> None:
    """Puts the events into the input topic."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=256 << 10)
    await producer.start()
    for number in range(count):
        await producer.send(topic, event(number), f"c{number % 500}".encode())
    await producer.stop()


async def ends(bootstrap: str, topics: list[str]) -> int:
    """Records in these topics so far."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        found = await consumer.end_offsets([TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)])
        return sum(found.values())
    finally:
        await consumer.stop()


async def timed(bootstrap: str, outputs: list[str], count: int, process: subprocess.Popen[bytes]) -> float:
    """Events/s from the first to the last output record. The process must be alive all the time."""
    began, first = None, 0
    while True:
        done = await ends(bootstrap, outputs)
        if done and began is None:
            began, first = time.perf_counter(), done
        if began is not None and done >= count:
            return (done - first) / (time.perf_counter() - began)
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with {process.returncode}")
        await asyncio.sleep(0.02)


async def measure(bootstrap: str, kind: str, count: int) -> float:
    """One round of one kind, on topics of its own."""
    run = uuid.uuid4().hex[:8]
    topics = {name: f"bench-{run}-{name}" for name in ("input_topic", *OUTPUTS)}
    await create_topics([TopicSpec(name, PARTITIONS, 1) for name in topics.values()], bootstrap_servers=bootstrap)
    await fill(bootstrap, topics["input_topic"], count)
    values = {"bootstrap_servers": bootstrap, "group": run, "web_port": 0, "log_level": "warning", **topics}
    environment = {f"MODERATION_{name.upper()}": str(value) for name, value in values.items()}
    command = [sys.executable, "-m", "bench.stream", "--side", kind]
    process = subprocess.Popen(command, env={**os.environ, **environment})  # noqa: ASYNC220  # nothing else runs
    try:
        return await timed(bootstrap, [topics[name] for name in OUTPUTS], count, process)
    finally:
        process.terminate()
        process.wait(60)


async def plain_loop() -> None:
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
        compression_type="lz4",
        linger_ms=5,
        max_batch_size=256 << 10,
    )
    await consumer.start()
    await producer.start()
    while True:
        for records in (await consumer.getmany(timeout_ms=200, max_records=1024)).values():
            for record in records:
                await producer.send(os.environ["MODERATION_SAFE_TOPIC"], record.value, record.key)


def worker() -> None:
    """The real worker; its guards answer at once."""
    from bench.free_guard import free_guards
    from worker.observability.logs import configure_logs
    from worker.settings import load_settings
    from worker.stream.app import create_app
    from worker.stream.host import host

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    sys.exit(host(create_app(settings, free_guards)))


async def compare(bootstrap: str | None, count: int, rounds: int) -> dict[str, object]:
    """Both kinds in turn."""
    with local_kafka(bootstrap, say=lambda line: print(line, file=sys.stderr)) as kafka:
        rates: dict[str, list[float]] = {"plain": [], "worker": []}
        for _ in range(rounds):
            for kind, found in rates.items():
                found.append(await measure(kafka.bootstrap_servers, kind, count))
                print(f"{kind}: {found[-1]:,.0f} events/s", file=sys.stderr)
    ratios = [ours / theirs for ours, theirs in zip(rates["worker"], rates["plain"], strict=True)]
    medians = {f"{kind}_events_per_second": round(statistics.median(found)) for kind, found in rates.items()}
    return {**medians, "ratio": round(statistics.median(ratios), 3), "events": count, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bootstrap", help="a Kafka that runs already")
    parser.add_argument("--side", choices=["plain", "worker"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side == "plain":
        asyncio.run(plain_loop())
    elif chosen.side == "worker":
        worker()
    else:
        print(json.dumps(asyncio.run(compare(chosen.bootstrap, chosen.events, chosen.rounds)), indent=2))


if __name__ == "__main__":
    main()
