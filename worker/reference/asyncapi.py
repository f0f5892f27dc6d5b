"""schemas/asyncapi.json: topics, records and who sends what, as AsyncAPI 3, generated from the contract's models."""

import json
from typing import Any, Final

from pydantic import TypeAdapter

from worker import __version__
from worker.contract.chat_event import ChatEvent
from worker.contract.dead_letter import DeadLetter
from worker.contract.errors import Stage, Unjudgeable
from worker.contract.headers import DeadLetterHeaders, VerdictHeaders, shadow_headers, verdict_headers
from worker.contract.record import Headers
from worker.contract.review import Review
from worker.contract.verdict import VERDICT, Label, Verdict
from worker.settings import Settings

Object = dict[str, Any]

FILE: Final = "asyncapi.json"

_SCHEMAS: Final = "#/components/schemas/"
_KAFKA: Final = "0.5.0"  # the version of AsyncAPI's Kafka bindings
_REVIEWS_TOPIC: Final = "moderation.reviews"  # none by default; this is the name that the docs use
_DESCRIPTION: Final = (
    "Chat events come in, each is judged by Llama Guard 4 and Prompt Guard 2, and leaves as exactly one of: a verdict "
    "on the topic of its label (safe, unsafe or review), or a dead letter. At least once: dedupe verdicts by "
    "`verdict_id`, which is the same after a redelivery. The verdicts of one key leave in the order of its events. "
    "Topic names and the group are settings; here are their defaults."
)

_CAUSE: Final = Unjudgeable("invalid_event", "messages: Field required", Stage.READ)


class _FailedRecord:
    """A record that cannot be judged, for the example."""

    topic, partition, offset, timestamp = "chat.events", 3, 813, 1777636800000
    key, value = b"c-17", b'{"event_id": "m-1003", "conversation_id": "c-17"}'
    headers: Headers = ()


def asyncapi() -> str:
    """The document's text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Object:
    """The document."""
    references, schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "moderation-worker",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "kafka"}, {"name": "moderation"}],
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(references),
            "schemas": schemas,
            "securitySchemes": {
                "plain": {"type": "plain", "description": "SASL PLAIN"},
                "scramSha256": {"type": "scramSha256", "description": "SASL SCRAM-SHA-256"},
                "scramSha512": {"type": "scramSha512", "description": "SASL SCRAM-SHA-512"},
                "mutualTls": {"type": "X509", "description": "A client certificate"},
            },
        },
    }


def _default(name: str) -> str:
    return str(Settings.model_fields[name].default)


def _servers() -> Object:
    host = {
        "host": "{bootstrapServer}",
        "variables": {
            "bootstrapServer": {
                "default": "localhost:9092",
                "description": "host:port, as MODERATION_BOOTSTRAP_SERVERS",
            }
        },
    }
    schemes = ("plain", "scramSha256", "scramSha512", "mutualTls")
    return {
        "kafka": {**host, "protocol": "kafka", "description": "Your Kafka, in plain text."},
        "kafkaSecure": {
            **host,
            "protocol": "kafka-secure",
            "description": "Your Kafka, over TLS, with one of these logins or without.",
            "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in schemes],
        },
    }


def _channels() -> Object:
    verdicts = {
        f"verdicts{label.value.capitalize()}": _channel(
            _default(f"{label.value}_topic"), "verdict", f"Verdicts labelled {label.value}.", f"{label.value}_topic"
        )
        for label in (Label.SAFE, Label.UNSAFE, Label.REVIEW)
    }
    return {
        "chatEvents": _channel(_default("input_topic"), "chatEvent", "What people and models write.", "input_topic"),
        **verdicts,
        "deadLetters": _channel(
            _default("dead_letter_topic"), "deadLetter", "Records that could not be judged.", "dead_letter_topic"
        ),
        "verdictsShadow": _channel(
            _default("shadow_topic"),
            "shadowVerdict",
            "A second opinion on a share of the events, by a policy that is on trial: nothing may follow from it. "
            "Only where `MODERATION_SHADOW_POLICY` is set.",
            "shadow_topic",
        ),
        "reviews": _channel(
            _REVIEWS_TOPIC,
            "review",
            "People's decisions on verdicts. Only where `MODERATION_REVIEWS_TOPIC` is set: it has no default.",
            "reviews_topic",
        ),
    }


def _channel(address: str, message: str, description: str, setting: str) -> Object:
    return {
        "address": address,
        "description": f"{description} The topic's name is `MODERATION_{setting.upper()}`.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topic": address, "bindingVersion": _KAFKA}},
    }


def _operations() -> Object:
    group = _default("group")
    return {
        "judgeChatEvents": _operation(
            "receive", "chatEvents", "Judges each event; workers share the partitions.", group
        ),
        "publishSafe": _operation("send", "verdictsSafe", "Where nothing was found."),
        "publishUnsafe": _operation("send", "verdictsUnsafe", "Where a guard found something."),
        "publishReview": _operation("send", "verdictsReview", "Where a person should decide."),
        "publishDeadLetters": _operation("send", "deadLetters", "Keeps what could not be judged, with the cause."),
        "publishShadow": _operation("send", "verdictsShadow", "The shadow policy's verdicts, for comparison."),
        "countReviews": _operation("receive", "reviews", "Counts agreement into metrics.", f"{group}-reviews"),
    }


def _operation(action: str, channel: str, summary: str, group: str | None = None) -> Object:
    binding: Object = {"bindingVersion": _KAFKA}
    if group is not None:
        binding["groupId"] = {"type": "string", "default": group, "description": "The consumer group of all workers."}
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "bindings": {"kafka": binding},
    }


def _schemas() -> tuple[dict[Any, Object], Object]:
    """Model -> its reference, and the definitions. AsyncAPI's own schemas are a superset of JSON Schema's draft 7."""
    references, definitions = TypeAdapter.json_schemas(
        [
            (ChatEvent, "validation", TypeAdapter(ChatEvent)),
            (Verdict, "serialization", VERDICT),
            (VerdictHeaders, "serialization", TypeAdapter(VerdictHeaders)),
            (DeadLetterHeaders, "serialization", TypeAdapter(DeadLetterHeaders)),
            (Review, "validation", TypeAdapter(Review)),
        ],
        ref_template=_SCHEMAS + "{model}",
    )
    return {model: reference for (model, _), reference in references.items()}, _plain(definitions["$defs"])


def _plain(node: Any) -> Any:
    """Without OpenAPI's discriminators: AsyncAPI's are strings, and each kind has a `const` anyway."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _plain(each)
        for name, each in node.items()
        if not (name == "discriminator" and isinstance(each, dict) and "mapping" in each)
    }


def _messages(references: dict[Any, Object]) -> Object:
    verdict_example = _example_of(references, Verdict)
    verdict = VERDICT.validate_python(verdict_example)
    trace = {"type": "string", "description": "W3C trace context, passed on to the verdict."}
    letter = DeadLetter.of(_FailedRecord(), _CAUSE)
    return {
        "chatEvent": {
            **_message(
                "Chat event", "A conversation whose last message is to be judged.", "conversation_id, or any other"
            ),
            "headers": {"type": "object", "properties": {"traceparent": trace}},
            "payload": references[ChatEvent],
            "correlationId": {"location": "$message.payload#/event_id", "description": "The sender's id of the event."},
            "examples": [
                {"name": each["event_id"], "payload": each} for each in ChatEvent.model_json_schema()["examples"]
            ],
        },
        "verdict": {
            **_message("Verdict", "The answer to one chat event; route on its headers alone.", "the event's key"),
            "headers": references[VerdictHeaders],
            "payload": references[Verdict],
            "correlationId": _VERDICT_ID,
            "examples": [
                {"name": "unsafe", "headers": _text(verdict_headers(verdict, [])), "payload": verdict_example}
            ],
        },
        "shadowVerdict": {
            **_message("Shadow verdict", "The verdict of the policy that is on trial.", "the event's key"),
            "headers": references[VerdictHeaders],
            "payload": references[Verdict],
            "correlationId": _VERDICT_ID,
            "examples": [{"name": "shadow", "headers": _text(shadow_headers(verdict, [])), "payload": verdict_example}],
        },
        "deadLetter": {
            **_message("Dead letter", "An input record that could not be judged.", "the record's key"),
            "contentType": "application/octet-stream",
            "headers": references[DeadLetterHeaders],
            "payload": {"description": "The record's value as it came: any bytes, or none."},
            "examples": [{"name": letter.error_type, "headers": _text(letter.headers)}],
        },
        "review": {
            **_message("Review", "A person's decision on a verdict.", "the event's key, or any other"),
            "payload": references[Review],
            "correlationId": {
                "location": "$message.payload#/verdict_id",
                "description": "The verdict that it is about.",
            },
            "examples": [{"name": "unsafe", "payload": each} for each in Review.model_json_schema()["examples"]],
        },
    }


_VERDICT_ID: Final = {"location": "$message.header#/ce_id", "description": "The verdict id: dedupe by it."}


def _message(title: str, summary: str, key: str) -> Object:
    return {
        "name": title.lower().replace(" ", "-"),
        "title": title,
        "summary": summary,
        "contentType": "application/json",
        "bindings": {"kafka": {"key": {"type": "string", "description": f"UTF-8: {key}."}, "bindingVersion": _KAFKA}},
    }


def _example_of(references: dict[Any, Object], model: Any) -> Object:
    (example,) = TypeAdapter(model).json_schema(mode="serialization")["examples"]
    assert model in references
    return dict(example)


def _text(headers: Headers) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in headers}
