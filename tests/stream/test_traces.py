"""Traces through a worker on a real Kafka, by OTLP: producer -> event -> batch, and on in the verdict."""

import asyncio
import os
import time
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.stream.collector import Collector, collector
from tests.stream.rig import Rig, chat_event
from worker.contract.record import header
from worker.contract.verdict import verdict_id_of
from worker.exit_codes import ExitCode

COUNT = 40


def producers_span(sampled: bool = True) -> bytes:
    """A traceparent, as a producer with tracing writes it."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-{'01' if sampled else '00'}".encode()


async def send(rig: Rig, count: int, *, sampled: bool = True) -> dict[uuid.UUID, bytes]:
    """Events with a trace each; verdict id -> traceparent."""
    sent, now = {}, int(time.time() * 1000)
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
        for number in range(count):
            parent, text = producers_span(sampled), "a bomb" if number % 2 else "hello"
            place = await producer.send_and_wait(
                rig.input_topic,
                chat_event(f"{text} {number}"),
                b"%d" % number,
                headers=[("traceparent", parent)],
                timestamp_ms=now,
            )
            sent[verdict_id_of(place.topic, place.partition, place.offset, now)] = parent
    return sent


def by_trace(kept: Collector) -> dict[bytes, list[Any]]:
    """The events' spans of each trace."""
    found: dict[bytes, list[Any]] = {}
    for span in kept.spans:
        if span.name.startswith("process "):
            found.setdefault(span.trace_id.hex().encode(), []).append(span)
    return found


async def test_a_trace_goes_from_the_producer_through_the_batch_into_the_verdict(rig: Rig) -> None:
    with collector() as kept:
        async with rig.outcomes() as outcomes:
            with rig.worker(**kept.variables, FAKE_DELAY=0.02) as worker:
                await rig.ready(worker)
                sent = await send(rig, COUNT)
                await outcomes.until_answered(sent)
                assert worker.stop() == ExitCode.OK, "and the last spans have left"
    events = by_trace(kept)
    batches = [span for span in kept.spans if span.name.startswith("judge ")]
    linked = {(link.trace_id, link.span_id) for span in batches for link in span.links}
    assert len(outcomes.records) == COUNT
    for record in outcomes.records:
        _, trace_id, producers_id, _ = sent[outcomes.id_of(record)].split(b"-")
        (span,) = events[trace_id]
        assert span.parent_span_id.hex().encode() == producers_id
        values = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
        assert values["messaging.destination.name"] == rig.input_topic
        assert values["messaging.consumer.group.name"] == rig.group
        assert values["moderation.outcome"] == outcomes.name_of[record.topic]
        assert (span.trace_id, span.span_id) in linked
        own = b"00-%s-%s-01" % (trace_id, span.span_id.hex().encode())
        assert header(record.headers, "traceparent") == own
    guards = {span.name for span in batches}
    assert guards == {"judge llama_guard", "judge prompt_guard"}


@pytest.mark.parametrize("way", ["off", "off by OpenTelemetry's own variable", "not sampled by the producer"])
async def test_where_nothing_is_traced_the_trace_is_passed_on(rig: Rig, way: str) -> None:
    with collector() as kept:
        variables = {**kept.variables, "tracing": way != "off", "OTEL_SDK_DISABLED": "by Open" in way}
        async with rig.outcomes() as outcomes:
            with rig.worker(**variables) as worker:
                await rig.ready(worker)
                sent = await send(rig, 4, sampled="sampled" not in way)
                await outcomes.until_answered(sent)
                assert worker.stop() == ExitCode.OK
    assert kept.spans == []
    for record in outcomes.records:
        parent, carried = sent[outcomes.id_of(record)], header(record.headers, "traceparent")
        if "sampled" in way:  # a span of ours that nobody keeps, in the same trace
            assert carried is not None and carried[:36] == parent[:36] and carried.endswith(b"-00")
        else:
            assert carried == parent


async def test_a_collector_that_is_away_costs_nothing_but_its_spans(rig: Rig) -> None:
    with collector() as gone:
        variables = gone.variables
    async with rig.outcomes() as outcomes:
        with rig.worker(**variables) as worker:
            await rig.ready(worker)
            ids = await rig.send((None, chat_event(f"hello {n}")) for n in range(200))
            await outcomes.until_answered(ids)
            assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
