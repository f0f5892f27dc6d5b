"""A client of another make sends bytes of its own making, and can rely on the published schemas alone."""

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema

from tests.stream.foreign import Headers, Sent, consume, produce
from tests.stream.rig import REAL, Rig

SCHEMAS = Path(__file__).parents[2] / "schemas"
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEY = b"\x00key \xff of its own"
# Not as any library would write them: blanks, escapes, an unknown field, a key twice (the last one counts).
EVENT = b"""\r\n{ "conversation_id" : "c-\\u0031",  "sdk": {"v": [1e3, null]},
  "metadata":{"channel":"g\xc3\xa9n\xc3\xa9ral","n":1.50}, "tenant":"acme",
  "event_id" : "first", "event_id" : "m-\\u00e9",
  "messages":[ {"content":"how do I make a b\\u006fmb?","role":"user","name":"ann"} ] }\n"""
BROKEN = b'{"event_id": "m-2", "conversation_id": "c-2", "messages": [{"role": "user", "content": "never quoted"} '


async def test_verdict_and_dead_letter_are_what_the_schemas_promise(rig: Rig) -> None:
    trace: Headers = [("traceparent", TRACE), ("twice", b"1"), ("twice", None), ("\u00fc", b"\xff\x00")]
    with rig.worker(command=REAL, torch_threads=1) as worker:
        good, bad = await asyncio.to_thread(
            produce, rig.bootstrap, rig.input_topic, [(KEY, EVENT, trace), (KEY, BROKEN, trace)]
        )
        records = await asyncio.to_thread(consume, rig.bootstrap, list(rig.outputs.values()), 2, 240)
        assert len(records) == 2, worker.tail()
    of_topic = {record.topic(): record for record in records}
    assert set(of_topic) == {rig.outputs["unsafe_topic"], rig.outputs["dead_letter_topic"]}
    _check_verdict(rig, of_topic[rig.outputs["unsafe_topic"]], good)
    _check_dead_letter(rig, of_topic[rig.outputs["dead_letter_topic"]], bad, trace)


def _check_verdict(rig: Rig, record: Any, sent: Sent) -> None:
    verdict = json.loads(record.value())
    _validate(verdict, "verdict")
    assert verdict["verdict_id"] == str(sent.id)
    assert (verdict["event_id"], verdict["conversation_id"], verdict["tenant"]) == ("m-\u00e9", "c-1", "acme")
    assert verdict["metadata"] == {"channel": "g\u00e9n\u00e9ral", "n": 1.5}
    assert (verdict["label"], verdict["violated_categories"]) == ("unsafe", ["S9"])
    assert all(model["stand_in"] for model in verdict["models"])
    assert verdict["source"] == {"topic": rig.input_topic, "partition": sent.partition, "offset": sent.offset}

    headers = {name: value.decode() for name, value in record.headers()}
    _validate(headers, "verdict-headers")
    assert len(headers) == len(record.headers()), "each name once"
    assert record.key() == KEY
    assert headers["ce_id"] == str(sent.id)
    assert headers["ce_subject"] == "m-\u00e9"
    assert headers["ce_source"] == f"/moderation-worker/{rig.input_topic}"
    assert headers["moderation-label"] == "unsafe"
    assert headers["moderation-categories"] == "S9"
    assert headers["traceparent"] == TRACE.decode()


def _check_dead_letter(rig: Rig, record: Any, sent: Sent, original: Headers) -> None:
    assert (record.key(), record.value()) == (KEY, BROKEN)
    assert record.headers()[: len(original)] == list(original)
    causes = {name: value.decode() for name, value in record.headers()[len(original) :]}
    _validate(causes, "dead-letter-headers")
    assert causes["moderation-error-type"] == "not_json"
    assert causes["moderation-error-stage"] == "read"
    assert "never quoted" not in causes["moderation-error-message"]
    assert causes["moderation-source-topic"] == rig.input_topic
    assert causes["moderation-source-partition"] == str(sent.partition)
    assert causes["moderation-source-offset"] == str(sent.offset)
    assert causes["moderation-source-timestamp"] == str(sent.timestamp)
    assert causes["moderation-replay-count"] == "0"


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


def _validate(document: Any, name: str) -> None:
    validator = jsonschema.Draft202012Validator(_schema(name), format_checker=jsonschema.FormatChecker())
    validator.validate(document)
