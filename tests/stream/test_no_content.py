"""What people write stays in the topics: not a word of it in logs, metrics, spans, or the headers of what comes out."""

import asyncio
import base64
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import orjson
from PIL import Image, PngImagePlugin

from tests.stream.collector import collector
from tests.stream.foreign import produce
from tests.stream.hostile import CANARY, hostile_records
from tests.stream.rig import LARGEST, REAL, Outcomes, Rig, probe
from worker.exit_codes import ExitCode
from worker.local.traffic import POLICIES_TOML, sample_traffic
from worker.settings import STAND_IN

# Where each of them is put; MODERATION_… names are not among them, ids and a producer's own headers neither: these are
# echoed by contract.
PLACES = ("text", "metadata", "tenant", "image", "key", "field", "policy", "role", "url")
WORD = "sparrow-"  # before the place's name
SETTINGS: dict[str, Any] = {
    "llama_guard_model": STAND_IN,
    "prompt_guard_model": STAND_IN,
    "torch_threads": 1,
    "log_level": "debug",
    "max_record_bytes": LARGEST - 4096,
    "max_windows": 2,
    "max_images": 2,
    "dead_letter_limit_share": 0,
}


def traffic() -> Iterator[tuple[bytes | None, bytes | None]]:
    """Sample events with a canary in every place, then records in which it is the fault, then hostile ones."""
    events = [orjson.loads(each.value or b"") for each in sample_traffic() if each.kind != "malformed"][:80]
    for event in events:
        event["metadata"] = {WORD + "metadata": WORD + "metadata"}
        event["tenant"] = event.get("tenant") or WORD + "tenant"
        event[WORD + "field"] = WORD + "field"
        for message in event["messages"]:
            if isinstance(message["content"], str):
                message["content"] += f" {WORD}text"
        yield (WORD + "key").encode(), orjson.dumps(event)
    yield from (((WORD + "key").encode(), orjson.dumps(each)) for each in _at_fault(events[0]))
    good = [orjson.dumps(event) for event in events]
    yield from ((each.key, each.value) for each in hostile_records(good)[::4])


def _at_fault(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def of(content: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
        return {**event, "messages": [{"role": role, "content": content}], **fields}

    yield of("hello", policy=WORD + "policy")
    yield of("hello", role=WORD + "role")
    yield of([{"type": WORD + "field"}])
    yield of([{"type": "text", "text": "look"}, {"type": "image", "url": f"https://example.com/{WORD}url?{WORD}url"}])
    yield of([{"type": "image", "url": f"file:///{WORD}url"}])
    for picture in _pictures():
        yield of([{"type": "text", "text": "look"}, {"type": "image", "data": picture}])
        url = {"type": "image_url", "image_url": {"url": f"data:image/{WORD}image;base64,{picture}"}}
        yield of([{"type": "text", "text": "look"}, url])


def _pictures() -> Iterator[str]:
    """One that holds the word beside its pixels, and some that are broken."""
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", WORD + "image")
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG", pnginfo=words)
    whole = out.getvalue()
    yield from (base64.b64encode(each).decode() for each in (whole, whole[:-30], (WORD + "image").encode()))
    yield WORD + "image, which is no base64"


def told(kind: str, text: bytes) -> list[str]:
    """Canaries in what a machine wrote, also in base64."""
    words = [CANARY, *(WORD + place for place in PLACES)]
    forms = {word: (word.encode(), base64.b64encode(word.encode())[:-4]) for word in words}
    return [f"{word} in {kind}" for word, spelled in forms.items() if any(form in text for form in spelled)]


async def test_no_word_of_what_was_written_is_told_anywhere(rig: Rig) -> None:
    records = list(traffic())
    random.Random(1).shuffle(records)
    policies = rig.folder / "policies.toml"
    policies.write_text(POLICIES_TOML)
    values = [(key, value, ()) for key, value in records]
    with (
        collector() as kept,
        rig.worker(command=REAL, policies_file=policies, **SETTINGS, **kept.variables) as worker,
    ):
        sent = await asyncio.to_thread(produce, rig.bootstrap, rig.input_topic, values)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered((each.id for each in sent), seconds=400)
        metrics = (await asyncio.to_thread(probe, worker, "/metrics"))[1].encode()
        assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
    log, spans = worker.log.read_bytes(), b"".join(kept.bodies)
    assert log.count(b"\n") > 10 and len(metrics) > 10_000 and len(kept.spans) > len(records)
    found = [*told("the log", log), *told("/metrics", metrics), *told("spans", spans), *_told_by_headers(outcomes)]
    assert found == []
    _check_they_went_through(outcomes)


def _told_by_headers(outcomes: Outcomes) -> list[str]:
    found = []
    for record in outcomes.records:
        for name, value in record.headers:
            kind = outcomes.name_of[record.topic]
            found += told(f"a header of {kind}", name.encode() + b"=" + (value or b""))
    return found


def _check_they_went_through(outcomes: Outcomes) -> None:
    """The verdicts' metadata have the word, and the dead letters the records: else nothing was looked for."""
    verdicts = [json.loads(record.value) for kind in ("safe", "unsafe", "review") for record in outcomes.of(kind)]
    assert sum(WORD + "metadata" in each["metadata"] for each in verdicts) >= 80
    assert {"museum", "forum", WORD + "tenant"} <= {each["tenant"] for each in verdicts}
    dead = b"".join(record.value or b"" for record in outcomes.of("dead_letter"))
    assert {place for place in PLACES if (WORD + place).encode() in dead} >= {"policy", "role", "field", "image"}
