"""All settings of the worker: variables `MODERATION_<NAME>` over a TOML file over the defaults.

The TOML file is the one named by `--config` or `MODERATION_CONFIG`, else `moderation.toml` in the working directory
where there is one. Its keys are the field names in lower case.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from worker.connection_settings import ConnectionSettings

ENV_PREFIX = "MODERATION_"
CONFIG_VARIABLE = "MODERATION_CONFIG"
# Read by the tests and by Kafka's start for demos: not settings of the worker, but not unknown either.
_OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "MODERATION_TEST_KAFKA"})

_SERVICE_LINK = re.compile(r".*_(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")

STAND_IN = "stand-in"

MiB = 1 << 20
Names = Annotated[tuple[str, ...], NoDecode]


class SettingsError(Exception):
    """Settings that cannot be used; the message names each key and what is wrong with it."""


class Settings(ConnectionSettings):
    """Settings of one worker process."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, env_ignore_empty=True
    )

    # Kafka; the connection to it is in ConnectionSettings -------------------------------------------------------------
    group: str = "moderation-worker"
    """Consumer group. Workers of one group share the partitions."""
    group_instance_id: str | None = Field(default=None, min_length=1, max_length=200)
    """This worker's own place in the group, such as the name of a StatefulSet's pod (static membership, Kafka 2.4): one
    that is back within `session_timeout_seconds` gets the same partitions, and the others go on undisturbed."""
    input_topic: str = "chat.events"
    """Topic of the chat events."""
    safe_topic: str = "moderation.verdicts.safe"
    """Topic of the verdicts labelled safe."""
    unsafe_topic: str = "moderation.verdicts.unsafe"
    """Topic of the verdicts labelled unsafe."""
    review_topic: str = "moderation.verdicts.review"
    """Topic of the verdicts labelled review."""
    dead_letter_topic: str = "moderation.dead-letters"
    """Topic of the records that could not be judged."""
    reviews_topic: str | None = Field(default=None, min_length=1)
    """Topic on which reviewers' decisions come back, such as `moderation.reviews`: agreement is counted into metrics,
    by a consumer group of its own (the group's name and `-reviews`). Where absent nothing is read."""

    # The stream ------------------------------------------------------------------------------------------------------
    max_in_flight_events: int = Field(default=1024, ge=1)
    """Most events fetched and not finished."""
    max_in_flight_bytes: int = Field(default=64 * MiB, ge=MiB)
    """Most bytes of events fetched and not finished."""
    ordering: Literal["key", "none"] = "key"
    """`key`: the verdicts of one key leave in the order of its events, so that one waits for those before it. `none`:
    each leaves as soon as it is there."""
    commit_interval_seconds: float = Field(default=0.5, gt=0)
    """Seconds between commits of the finished offsets."""
    session_timeout_seconds: float = Field(default=15.0, ge=6)
    """Seconds without a heartbeat after which the group gives a worker's partitions away. /healthz turns red after two
    thirds of them without a poll."""
    revoke_drain_seconds: float = Field(default=20.0, gt=0)
    """Seconds for started work to finish when partitions are taken away."""
    drain_seconds: float = Field(default=25.0, gt=0)
    """Seconds for started work to finish after SIGTERM; past them the process ends with exit code 75."""
    input_gone_seconds: float = Field(default=10.0, gt=0)
    """Seconds without the input topic after which the worker ends."""
    stuck_after_seconds: float = Field(default=120.0, gt=0)
    """Seconds with work in flight and nothing finished, although Kafka answers, after which /healthz turns red. More
    than batch_timeout_seconds."""
    journal_dir: Path | None = None
    """Directory of the journal that names what is in flight, by which a record that kills the worker is found out; in
    Kubernetes an emptyDir. Below the system's temporary directory where absent."""
    max_record_bytes: int = Field(default=1_000_000, ge=10_000)
    """Largest record to publish, in bytes; a little below the output topics' max.message.bytes."""
    dead_letter_limit_consecutive: int = Field(default=1000, ge=0)
    """More dead letters in a row stop the worker with exit code 65; 0 sets no limit. Replayed records do not count."""
    dead_letter_limit_share: float = Field(default=0.5, ge=0, le=1)
    """A larger share of dead letters among the last outcomes stops the worker with exit code 65; 0 sets no limit."""
    dead_letter_limit_window: int = Field(default=10_000, ge=1)
    """Outcomes that the share is taken of; it is looked at once there are so many."""

    # Batches ---------------------------------------------------------------------------------------------------------
    llama_guard_batch_tokens: int = Field(default=16384, ge=256)
    """Most tokens of a Llama Guard batch: its longest check times its checks."""
    prompt_guard_batch_tokens: int = Field(default=32768, ge=512)
    """Most tokens of a Prompt Guard batch: its longest window times its windows."""
    batch_wait_ms: float = Field(default=5.0, ge=0)
    """Most milliseconds that a check waits for company while the guard is idle."""
    batch_timeout_seconds: float = Field(default=60.0, gt=0)
    """Seconds on the device after which a batch counts as hanging: the process ends with 70 and Kafka redelivers."""
    guard_breaker_failures: int = Field(default=50, ge=0)
    """Checks of a guard that fail in a row (`guard_error`) after which it counts as down; 0: never."""
    guard_breaker_action: Literal["review", "stop"] = "review"
    """What happens when a guard is down: `review` answers without it (`guard_unavailable`, never safe) and tries it
    again after 1 s, 2 s, and so on up to 60 s; `stop` ends the worker with exit code 69, and events wait in Kafka."""
    prepare_threads: int = Field(default=2, ge=1)
    """CPU threads that render, tokenise and decode images."""

    # Models ----------------------------------------------------------------------------------------------------------
    llama_guard_model: str = "meta-llama/Llama-Guard-4-12B"
    """Hub id, directory, or `stand-in`."""
    llama_guard_revision: str | None = None
    """Commit on the hub (40 hex digits). Required for a hub id, so that a model changes only when you say so."""
    prompt_guard_model: str = "meta-llama/Llama-Prompt-Guard-2-86M"
    """Hub id, directory, or `stand-in`; the 22M variant is meta-llama/Llama-Prompt-Guard-2-22M."""
    prompt_guard_revision: str | None = None
    """Commit on the hub (40 hex digits). Required for a hub id."""
    hf_token: SecretStr | None = None
    """Token of the hub for gated models; HF_TOKEN works too. Never logged."""
    model_cache: Path | None = None
    """Directory of the downloaded models; the hub client's own where absent."""
    offline: bool = False
    """Never ask the hub: models must be in the cache already."""
    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:<n>`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the models: `auto` is bfloat16 on a GPU and float32 on a CPU."""
    llama_guard_weights: Literal["full", "int8"] = "full"
    """`int8` keeps Llama Guard's linear layers in 8 bits: 15 GB instead of 24. Needs the extra `int8`."""
    torch_threads: int = Field(default=0, ge=0)
    """CPU threads of torch; 0 leaves it to torch."""

    prefix_cache_bytes: int = Field(default=1024 * MiB, ge=0)
    """Most bytes on the device for what a policy's Llama Guard prompts have in common; 0 computes each prompt whole."""

    # Content ---------------------------------------------------------------------------------------------------------
    window_tokens: int = Field(default=4096, ge=64)
    """Most tokens of the judged message in one Llama Guard prompt; longer ones are judged in overlapping windows."""
    context_tokens: int = Field(default=8192, ge=256)
    """Most tokens of a whole Llama Guard prompt; oldest turns are dropped to fit."""
    max_windows: int = Field(default=32, ge=1)
    """Most windows of one event for each guard; what is beyond makes the verdict incomplete."""
    max_images: int = Field(default=5, ge=0)
    """Most images judged in an event; more make the verdict incomplete. With 0 only the text model is loaded."""
    max_image_bytes: int = Field(default=8 * MiB, ge=1024)
    """Largest image file in bytes."""
    max_image_pixels: int = Field(default=16_000_000, ge=1024)
    """Largest image in pixels."""
    max_image_tiles: int | None = Field(default=None, ge=1)
    """Most tiles that an image is cut into, besides its overview: fewer cost less and show less. As the checkpoint says
    where absent; never more than that."""
    image_hosts: Names = ()
    """Hosts from which https image URLs may be fetched, comma-separated; none by default."""

    # Verdicts --------------------------------------------------------------------------------------------------------
    policies_file: Path | None = None
    """TOML file with named policies and tenants, or a directory of such files; the built-in default policy where
    absent."""
    policies_reload_seconds: float = Field(default=1.0, ge=0)
    """Seconds between two looks at the policies file. A change acts once two looks in a row have seen the same: half of
    a file is not taken for a whole one. Faulty policies never act, the last good ones stay. 0: read at start only."""
    verdict_cache_bytes: int = Field(default=64 * MiB, ge=0)
    """Most bytes of memory for verdicts to use again on identical content, about 600 a verdict; 0 judges every event
    itself, also where identical ones come at the same moment."""
    shadow_policy: str = ""
    """Policy of the policies file that judges a share of the events a second time, for comparison: its verdicts go to
    `shadow_topic`, nothing else follows from them. Off where empty."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the events that the shadow policy judges, chosen by their verdict ids: always the same ones."""
    shadow_topic: str = "moderation.verdicts.shadow"
    """Topic of the shadow policy's verdicts."""
    event_in_review_verdicts: bool = False
    """Whether review verdicts carry the event, so that a review queue needs no second look-up."""

    # Operation -------------------------------------------------------------------------------------------------------
    web_host: str = "0.0.0.0"  # noqa: S104  # probes and Prometheus come from outside the pod
    """Address of /healthz, /readyz, /metrics and the status page."""
    web_port: int = Field(default=6066, ge=0, le=65535)
    """Port of /healthz, /readyz, /metrics and the status page; 0 takes a free one and logs it."""
    status_page: bool = True
    """Whether `/` shows people what the worker is doing now, from its metrics, and its last verdicts by their ids,
    without content. Like /metrics it asks for no login: who reaches the port may read it."""
    metrics_tenants: int = Field(default=50, ge=0)
    """Most tenants that metrics tell apart: the first ones of the policies file, all others are `other`. Names that
    only events have are never in metrics: senders choose them."""
    tracing: bool = False
    """Whether spans are sent, by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`,
    `OTEL_SDK_DISABLED` and so on. Needs the extra `tracing`."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is JSON unless standard error is a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines to write."""

    @model_validator(mode="before")
    @classmethod
    def _split_names(cls, values: Any) -> Any:
        hosts = values.get("image_hosts") if isinstance(values, dict) else None
        if isinstance(hosts, str):
            values = {**values, "image_hosts": [host.strip() for host in hosts.split(",") if host.strip()]}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        topics = [*self.written_topics, self.input_topic, *([self.reviews_topic] if self.reviews_topic else [])]
        if len(set(topics)) != len(topics):
            raise ValueError("the input topic, the output topics and the reviews topic must all be different")
        if self.stuck_after_seconds <= self.batch_timeout_seconds:
            raise ValueError(
                f"stuck_after_seconds ({self.stuck_after_seconds:g}) must be above batch_timeout_seconds "
                f"({self.batch_timeout_seconds:g}): else whoever looks at /healthz ends a worker whose guard hangs "
                "before it can find out on which record"
            )
        return self

    @property
    def output_topics(self) -> tuple[str, str, str, str]:
        """The topics of the outcomes: each event's is in one of them."""
        return self.safe_topic, self.unsafe_topic, self.review_topic, self.dead_letter_topic

    @property
    def written_topics(self) -> tuple[str, ...]:
        """The topics that the worker writes."""
        return (*self.output_topics, self.shadow_topic) if self.shadow_policy else self.output_topics

    @property
    def reviews_group(self) -> str:
        """The consumer group that reads the reviews topic."""
        return f"{self.group}-reviews"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The values that are passed, alone. The environment is read by `load_settings`: else what a benchmark or a
        test says of its own topics and Kafka would lose to variables that name somebody's real ones."""
        return (init_settings,)


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings from the environment, the TOML file and `overrides` (which win). Raises SettingsError."""
    document = _read_toml(config)
    names = set(Settings.model_fields)
    complaints = [_unknown(key, names, f"{key}") for key in document if key not in names]
    for variable in os.environ:
        key = variable.removeprefix(ENV_PREFIX).lower()
        if variable.startswith(ENV_PREFIX) and key not in names and not _is_of_others(variable):
            complaints.append(_unknown(key, names, variable))
    if complaints:
        raise SettingsError("; ".join(complaints))
    try:
        return Settings(**{**document, **EnvSettingsSource(Settings)(), **(overrides or {})})
    except ValidationError as error:
        raise SettingsError("; ".join(_in_words(fault) for fault in error.errors(include_input=False))) from None


def _read_toml(config: Path | None) -> dict[str, Any]:
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = named or Path("moderation.toml")
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {error}") from None


def _is_of_others(variable: str) -> bool:
    """Kubernetes describes each Service to every pod: one named `moderation` gives MODERATION_SERVICE_HOST and more."""
    if variable in _OTHER_VARIABLES:
        return True
    return _SERVICE_LINK.fullmatch(variable) is not None or os.environ[variable].startswith(("tcp://", "udp://"))


def _unknown(key: str, names: set[str], shown: str) -> str:
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {shown[: -len(key)] + (near[0].upper() if shown.isupper() else near[0])}?" if near else ""
    return f"unknown setting {shown}{hint}"


def _in_words(fault: Any) -> str:
    key = ".".join(str(step) for step in fault["loc"])
    where = f"setting {key} ({ENV_PREFIX}{fault['loc'][0].upper()}): " if key else "settings: "
    return where + str(fault["msg"]).removeprefix("Value error, ")
