"""Settings: environment over TOML over defaults, and every fault is named with its key."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.settings_rig import clean_settings, complaint, toml  # noqa: F401  # the fixture is used by itself
from worker.settings import Settings, SettingsError, load_settings

# -- where values come from


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.input_topic == "chat.events"
    assert settings.output_topics == (
        "moderation.verdicts.safe",
        "moderation.verdicts.unsafe",
        "moderation.verdicts.review",
        "moderation.dead-letters",
    )
    assert settings.image_hosts == ()


def test_environment_over_toml_over_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = toml(tmp_path, 'group = "toml"\ninput_topic = "toml"', "my.toml")
    monkeypatch.setenv("MODERATION_GROUP", "env")
    settings = load_settings(file)
    assert (settings.group, settings.input_topic, settings.safe_topic) == ("env", "toml", "moderation.verdicts.safe")


def test_overrides_win_over_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = toml(tmp_path, 'group = "toml"\nweb_port = 1', "my.toml")
    monkeypatch.setenv("MODERATION_GROUP", "env")
    monkeypatch.setenv("MODERATION_IMAGE_HOSTS", "a,b")
    monkeypatch.setenv("MODERATION_HF_TOKEN", "hush")
    settings = load_settings(file, {"group": "given"})
    assert (settings.group, settings.web_port, settings.image_hosts) == ("given", 1, ("a", "b"))
    assert settings.hf_token == SecretStr("hush")


def test_settings_that_are_not_loaded_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_GROUP", "of-somebody")
    monkeypatch.setenv("MODERATION_INPUT_TOPIC", "of-somebody")
    settings = Settings.model_validate({"input_topic": "our-own"})
    assert (settings.group, settings.input_topic) == ("moderation-worker", "our-own")


def test_the_file_in_the_working_directory_is_read(tmp_path: Path) -> None:
    toml(tmp_path, 'group = "here"')
    assert load_settings().group == "here"


def test_the_file_that_the_variable_names_is_read_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toml(tmp_path, 'group = "here"')
    monkeypatch.setenv("MODERATION_CONFIG", str(toml(tmp_path, 'input_topic = "there"', "named.toml")))
    settings = load_settings()
    assert (settings.group, settings.input_topic) == ("moderation-worker", "there")


def test_the_file_that_is_passed_wins_over_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATION_CONFIG", str(tmp_path / "nowhere.toml"))
    assert load_settings(toml(tmp_path, 'group = "passed"', "passed.toml")).group == "passed"


def test_the_reviews_topic_is_off_and_is_no_other_topic() -> None:
    assert load_settings().reviews_topic is None
    settings = load_settings(overrides={"reviews_topic": "decisions", "group": "mine"})
    assert (settings.reviews_topic, settings.reviews_group) == ("decisions", "mine-reviews")
    for taken in (settings.review_topic, settings.input_topic):
        with pytest.raises(SettingsError, match="must all be different"):
            load_settings(overrides={"reviews_topic": taken})


def test_empty_variables_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_GROUP", "")
    monkeypatch.setenv("MODERATION_CONFIG", "")
    assert load_settings().group == "moderation-worker"


def test_the_variable_of_the_tests_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_TEST_KAFKA", "127.0.0.1:19092")
    assert load_settings() == Settings(), "nor one of them"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a.example", ("a.example",)),
        (" a , b,c ", ("a", "b", "c")),
        (",", ()),
        ("a,,b,", ("a", "b")),
        ('["a"]', ('["a"]',)),
    ],
)
def test_a_variables_list_is_comma_separated(
    monkeypatch: pytest.MonkeyPatch, text: str, hosts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MODERATION_IMAGE_HOSTS", text)
    assert load_settings().image_hosts == hosts


@pytest.mark.parametrize("text", ['image_hosts = ["a", "b"]', 'image_hosts = "a, b"'])
def test_a_list_in_toml_may_be_either(tmp_path: Path, text: str) -> None:
    assert load_settings(toml(tmp_path, text)).image_hosts == ("a", "b")


def test_variables_are_read_as_the_types_of_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "WEB_PORT": "0",
        "BATCH_WAIT_MS": "2.5",
        "OFFLINE": "true",
        "POLICIES_FILE": "/p.toml",
        "DTYPE": "float16",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"MODERATION_{name}", value)
    settings = load_settings()
    assert (settings.web_port, settings.batch_wait_ms, settings.offline) == (0, 2.5, True)
    assert (settings.policies_file, settings.dtype) == (Path("/p.toml"), "float16")


# -- faults


def test_an_unknown_variable_is_named_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_GROPU", "x")
    assert complaint() == "unknown setting MODERATION_GROPU; did you mean MODERATION_GROUP?"


def test_an_unknown_key_is_named_with_a_hint(tmp_path: Path) -> None:
    assert complaint(toml(tmp_path, "web_prot = 1")) == "unknown setting web_prot; did you mean web_port?"


def test_an_unknown_name_that_is_like_nothing_has_no_hint(tmp_path: Path) -> None:
    assert complaint(toml(tmp_path, "[zzz]\nqqq = 1")) == "unknown setting zzz"


def test_all_unknown_names_are_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATION_QQQ", "x")
    monkeypatch.setenv("MODERATION_WWW", "x")
    said = complaint(toml(tmp_path, "zzz = 1"))
    assert sorted(said.split("; ")) == [
        f"unknown setting {name}" for name in ("MODERATION_QQQ", "MODERATION_WWW", "zzz")
    ]


def test_other_programs_variables_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATIONS", "x")
    monkeypatch.setenv("GROUP", "x")
    assert load_settings().group == "moderation-worker"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("web_port", "http", "valid integer"),
        ("web_port", "65536", "less than or equal to 65535"),
        ("max_in_flight_events", "0", "greater than or equal to 1"),
        ("batch_wait_ms", "nan", "greater than or equal to 0"),
        ("drain_seconds", "0", "greater than 0"),
        ("security_protocol", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("offline", "perhaps", "valid boolean"),
    ],
)
def test_a_bad_value_names_key_and_variable_from_wherever_it_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, fault: str
) -> None:
    named = re.escape(f"setting {name} (MODERATION_{name.upper()}): ") + ".*" + re.escape(fault)
    assert re.search(named, complaint(toml(tmp_path, f'{name} = "{value}"', "bad.toml")))
    assert re.search(named, complaint(None, {name: value}))
    monkeypatch.setenv(f"MODERATION_{name.upper()}", value)
    assert re.search(named, complaint())


def test_a_bad_entry_of_a_list_names_the_lists_variable(tmp_path: Path) -> None:
    said = complaint(toml(tmp_path, 'image_hosts = ["a", 5]'))
    assert said.startswith("setting image_hosts.1 (MODERATION_IMAGE_HOSTS): ")


def test_all_bad_values_are_named_at_once(tmp_path: Path) -> None:
    said = complaint(toml(tmp_path, "web_port = -1\nmax_windows = 0"))
    assert "setting web_port " in said
    assert "setting max_windows " in said


@pytest.mark.parametrize(
    ("content", "fault"), [(b"group =", "Invalid value"), (b"\xff", "utf-8"), (b"a = 1\na = 2", "overwrite")]
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    file = tmp_path / "my.toml"
    file.write_bytes(content)
    said = complaint(file)
    assert said.startswith(f"cannot read the settings file {file}: ")
    assert fault in said


def test_a_file_that_is_named_and_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "nowhere.toml" in complaint(tmp_path / "nowhere.toml")
    monkeypatch.setenv("MODERATION_CONFIG", "elsewhere.toml")
    assert "elsewhere.toml" in complaint()


def test_a_guard_that_hangs_must_be_found_out_before_the_worker_is_taken_for_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODERATION_BATCH_TIMEOUT_SECONDS", "120")
    assert "stuck_after_seconds (120) must be above batch_timeout_seconds (120)" in complaint()
    monkeypatch.setenv("MODERATION_STUCK_AFTER_SECONDS", "121")
    load_settings()


# -- what people read


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").strip()] == []


def test_numbers_with_a_unit_have_it_in_their_name() -> None:
    """A person who writes 5 must know of what."""
    unitless = {
        name
        for name, field in Settings.model_fields.items()
        if field.annotation in (int, float) and not name.endswith(("_seconds", "_ms", "_bytes", "_tokens", "_pixels"))
    }
    assert unitless == {
        "dead_letter_limit_consecutive",
        "dead_letter_limit_share",
        "shadow_share",
        "dead_letter_limit_window",
        "guard_breaker_failures",
        "metrics_tenants",
        "max_in_flight_events",
        "prepare_threads",
        "torch_threads",
        "max_windows",
        "max_images",
        "web_port",
    }


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().group = "other"  # type: ignore[misc]


def test_the_defaults_can_be_written_as_json() -> None:
    assert json.loads(Settings().model_dump_json())["group"] == "moderation-worker"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODERATION_SERVICE_HOST", "10.0.0.1"),
        ("MODERATION_SERVICE_PORT", "80"),
        ("MODERATION_SERVICE_PORT_HTTP", "80"),
        ("MODERATION_PORT", "tcp://10.0.0.1:80"),
        ("MODERATION_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_says_of_a_service_named_moderation_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert load_settings()


@pytest.mark.parametrize("servers", ["kafka", "kafka:abc", "a:1,b", ":9092", "http://a:1"])
def test_bootstrap_servers_that_are_no_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", servers)
    with pytest.raises(SettingsError, match=r"MODERATION_BOOTSTRAP_SERVERS.*is not host:port"):
        load_settings()


@pytest.mark.parametrize("servers", ["kafka:9092", "a:1, b:2", "[::1]:9092", "127.0.0.1:9092"])
def test_addresses_of_all_kinds_are_taken(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    monkeypatch.setenv("MODERATION_BOOTSTRAP_SERVERS", servers)
    assert load_settings().bootstrap_servers == servers
