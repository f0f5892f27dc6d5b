"""Generates the chart's values.schema.json: every key by name, so that a wrong one is named.

`settings` takes its keys, types and sentences from worker.settings: all but those that the chart sets itself, and the
secret ones.
"""

import json
from pathlib import Path
from typing import Any

from deploy.generated import write_or_check
from worker.settings import Settings

CHART = Path(__file__).resolve().parent.parent / "helm/moderation-worker"
TARGET = CHART / "values.schema.json"

Schema = dict[str, Any]

_BY_THE_CHART = {
    *("bootstrap_servers", "group", "security_protocol", "hf_token"),
    *(
        "input_topic",
        "safe_topic",
        "unsafe_topic",
        "review_topic",
        "dead_letter_topic",
        "shadow_topic",
        "reviews_topic",
    ),
    *("llama_guard_model", "llama_guard_revision", "llama_guard_weights"),
    *("prompt_guard_model", "prompt_guard_revision", "model_cache", "offline", "device"),
    *("journal_dir", "drain_seconds", "web_host", "web_port", "log_format", "policies_file"),
}
_NOT_OF_A_DEPLOYMENT = frozenset({"group_instance_id"})  # its pods have no lasting names
_CONNECTION = ("ssl_", "sasl_")

FLAG: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 1}
ANY_MAP: Schema = {"type": "object"}
WORDS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
NAME: Schema = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "maxLength": 253}
KEY: Schema = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]+$"}
TOPIC: Schema = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]{1,249}$"}
SIZE: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
SECONDS: Schema = {"type": "number", "minimum": 0}
COMMIT: Schema = {"type": "string", "pattern": "^([0-9a-f]{40})?$", "description": "A commit: 40 hex digits."}


def keys(**properties: Schema) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"enum": list(values)}


def values_schema() -> Schema:
    """The whole schema."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of moderation-worker",
        **keys(**_workload(), **_kafka(), **_models(), **_operation(), settings=_settings(), **{"global": ANY_MAP}),
    }


def _workload() -> dict[str, Schema]:
    digest = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
    return {
        "nameOverride": NAME,
        "fullnameOverride": NAME,
        "image": keys(
            repository={"type": "string", "minLength": 1},
            tag=TEXT,
            digest=digest,
            pullPolicy=one_of("Always", "IfNotPresent", "Never"),
        ),
        "imagePullSecrets": {"type": "array", "items": {**keys(name=NAME), "required": ["name"]}},
        "replicaCount": {"type": "integer", "minimum": 0},
        "standIn": FLAG,
        "gpu": keys(enabled=FLAG, resource={"type": "string", "pattern": "^[-.a-z0-9]+/[-._a-zA-Z0-9]+$"}),
        "cpuIsFine": FLAG,
        "resources": keys(requests=ANY_MAP, limits=ANY_MAP, claims=OBJECTS),
        "serviceAccount": keys(create=FLAG, name=NAME, annotations=WORDS),
        "podAnnotations": WORDS,
        "podLabels": WORDS,
        "extraEnv": {
            "type": "array",
            "items": {
                **keys(name={"type": "string", "minLength": 1}, value=TEXT, valueFrom=ANY_MAP),
                "required": ["name"],
            },
        },
        "runtimeClassName": NAME,
        "priorityClassName": NAME,
        "nodeSelector": WORDS,
        "tolerations": OBJECTS,
        "affinity": ANY_MAP,
    }


def _kafka() -> dict[str, Schema]:
    servers = {"type": "string", "pattern": r"^([^\s:,]+:[0-9]{1,5}(, *[^\s:,]+:[0-9]{1,5})*)?$"}
    return {
        "kafka": keys(
            bootstrapServers={**servers, "description": "host:port, comma-separated"},
            group={"type": "string", "minLength": 1},
            securityProtocol=one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
            tls=keys(caSecret=NAME, caKey=KEY, clientSecret=NAME, certKey=KEY, keyKey=KEY, keyPasswordKey=TEXT),
            sasl=keys(
                mechanism=one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
                username=TEXT,
                existingSecret=NAME,
                passwordKey=KEY,
                password=TEXT,
                oauth=keys(tokenUrl={"type": "string", "pattern": "^(https://.+)?$"}, clientId=TEXT, scope=TEXT),
            ),
        ),
        "topics": keys(
            **dict.fromkeys(("input", "safe", "unsafe", "review", "deadLetter", "shadow"), TOPIC),
            reviews={**TOPIC, "pattern": r"^[-._a-zA-Z0-9]{0,249}$"},
            create=FLAG,
            partitions=COUNT,
            replicationFactor=COUNT,
        ),
    }


def _models() -> dict[str, Schema]:
    model = {"type": "string", "minLength": 1, "description": "Hub id or directory."}
    modes = {"type": "array", "minItems": 1, "items": one_of("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")}
    return {
        "models": keys(
            llamaGuard=keys(model=model, revision=COMMIT, weights=one_of("full", "int8")),
            promptGuard=keys(model=model, revision=COMMIT),
        ),
        "hub": keys(existingSecret=NAME, tokenKey=KEY, token=TEXT),
        "checkSecrets": FLAG,
        "modelCache": keys(
            fetch=one_of("init", "job", "none"), existingClaim=NAME, size=SIZE, storageClassName=NAME, accessModes=modes
        ),
        "policies": {"type": "string", "description": "TOML, see docs/policies.md."},
        "policiesConfigMap": NAME,
        "restartOnPolicies": FLAG,
    }


def _operation() -> dict[str, Schema]:
    port = {"type": "integer", "minimum": 1, "maximum": 65535}
    some = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]}
    return {
        "drainSeconds": {"type": "number", "exclusiveMinimum": 0},
        "preStopSeconds": SECONDS,
        "startupSeconds": COUNT,
        "journalSize": SIZE,
        "tmpSize": SIZE,
        "autoscaling": keys(
            type=one_of("none", "keda", "hpa"),
            minReplicas={"type": "integer", "minimum": 0},
            maxReplicas=COUNT,
            lagThreshold=COUNT,
            scaleDownStabilizationSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
            pollingSeconds=COUNT,
            authenticationRef=NAME,
        ),
        "podDisruptionBudget": keys(enabled=FLAG, maxUnavailable=some),
        "networkPolicy": keys(
            enabled=FLAG,
            scrapers=OBJECTS,
            kafkaPeers=OBJECTS,
            kafkaPorts={"type": "array", "items": port},
            extraEgress=OBJECTS,
        ),
        "monitoring": keys(
            serviceMonitor=keys(enabled=FLAG, interval={"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}, labels=WORDS),
            prometheusRule=keys(enabled=FLAG, labels=WORDS, runbookBase=TEXT),
            dashboard=keys(enabled=FLAG, labels=WORDS),
        ),
    }


def _settings() -> Schema:
    return keys(**{name: _setting(schema) for name, schema in _of_the_worker().items() if not _is_elsewhere(name)})


def _of_the_worker() -> dict[str, Schema]:
    properties: dict[str, Schema] = Settings.model_json_schema()["properties"]
    return properties


def _is_elsewhere(name: str) -> bool:
    return name in _BY_THE_CHART | _NOT_OF_A_DEPLOYMENT or name.startswith(_CONNECTION)


def _setting(schema: Schema) -> Schema:
    """A setting as a value: a list is written as in the environment, with commas."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    (option,) = options
    if option.get("type") == "array":
        option = {"type": "string"}
    kept = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")
    return {**{key: option[key] for key in kept if key in option}, "description": schema["description"]}


def main() -> None:
    """Writes the schema; with --check, fails where it differs."""
    write_or_check(TARGET, json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
