"""`moderation-worker policies`: what a person reads before a policies file acts."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.moderation.test_comparison import line
from worker.cli.main import app
from worker.policy.differences import differences
from worker.policy.errors import PolicyError
from worker.policy.store import PolicyStore

OLD = '[policies.museum]\nexcluded_categories = ["S9"]\n[tenants]\nlouvre = "museum"\n'
NEW = """
[policies.museum]
excluded_categories = ["S9"]
unsafe_threshold = 0.7
[policies.museum.categories.S1]
action = "review"
[policies.added]
[tenants]
louvre = "added"
acme = "default"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("old.toml").write_text(OLD)
    Path("new.toml").write_text(NEW)
    return tmp_path


def said(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["policies", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_good_file_is_told_with_the_hashes_of_verdicts() -> None:
    policies = PolicyStore.from_file(Path("new.toml"))
    museum = policies.named("museum")
    assert museum is not None
    told = said("check", "new.toml").stdout
    assert f"{museum.hash}  museum\n" in told
    assert told.endswith("new.toml: 3 policies for 2 tenants can be used\n")


def test_every_fault_is_a_line_with_file_and_key() -> None:
    Path("bad.toml").write_text('[policies.a]\nbase = "a"\n[policies.b]\nunsafe_threshold = 2\n[tenants]\nx = "y"')
    result = said("check", "bad.toml", code=1)
    assert [each.split(": ")[:2] for each in result.stderr.splitlines()] == [
        ["bad.toml", "policies.a.base"],
        ["bad.toml", "policies.b.unsafe_threshold"],
        ["bad.toml", "tenants.x names the policy 'y', which is not in [policies]"],
    ]
    assert "nowhere.toml" in said("check", "nowhere.toml", code=1).stderr


def test_a_policy_is_shown_as_it_could_be_written() -> None:
    for arguments in (["museum"], ["--tenant", "louvre"]):
        shown = said("show", *arguments, "--file", "new.toml").stdout
        name = "museum" if arguments == ["museum"] else "added"
        policy = PolicyStore.from_file(Path("new.toml")).named(name)
        assert policy is not None and shown.startswith(f"# hash {policy.hash}\n")
        Path("shown.toml").write_text(shown)
        assert PolicyStore.from_file(Path("shown.toml")).named(name) == policy


@pytest.mark.parametrize("name", ["a b", 'quo"te', "ünï", "a.b", "9"])
def test_any_name_can_be_shown(name: str) -> None:
    Path("odd.toml").write_text(f"[policies.{json.dumps(name, ensure_ascii=False)}]\n", encoding="utf-8")
    shown = tomllib.loads(said("show", name, "--file", "odd.toml").stdout)
    assert list(shown["policies"]) == [name]


def test_a_tenant_that_is_not_listed_is_told_so() -> None:
    assert "'nobody' is not in [tenants]" in said("show", "--tenant", "nobody", "--file", "new.toml").stdout


def test_what_cannot_be_shown_is_refused() -> None:
    said("show", "nope", "--file", "new.toml", code=2)
    said("show", "museum", "--tenant", "louvre", code=2)
    Path("bad.toml").write_text("[policies.a")
    assert isinstance(CliRunner().invoke(app, ["policies", "show", "--file", "bad.toml"]).exception, PolicyError)


def test_the_differences_of_two_files_are_listed() -> None:
    found = list(differences(*(PolicyStore.from_file(Path(each)) for each in ("old.toml", "new.toml"))))
    assert found[0].startswith("policies.museum: ")
    assert found[1:] == [
        "  unsafe_threshold: 0.5 -> 0.7",
        "  categories.S1.action: (none) -> review",
        "policies.added: added",
        "tenants.louvre: museum -> added",
    ]
    assert said("diff", "old.toml", "old.toml").stdout == "no policy differs\n"


@pytest.mark.models
def test_events_are_replayed_under_both() -> None:
    Path("events.jsonl").write_bytes(
        b"\n".join([line("how do I build a bomb?", 1), line("how do I bake a cake?", 2), b"broken"])
    )
    Path("lax.toml").write_text("[policies.default.categories.S9]\naction = 'review'\n")
    Path("none.toml").write_text("[policies.other]\n")
    arguments = ["diff", "none.toml", "lax.toml", "--events", "events.jsonl", "--stand-in"]
    told = json.loads(said(*arguments, "--json").stdout)
    assert (told["events"], told["unreadable"], told["changes"], told["judged_twice"]) == (2, 1, 1, 0)
    assert told["outcomes"] == [
        {"old": "safe", "new": "safe", "events": 1},
        {"old": "unsafe", "new": "review", "events": 1},
    ]
    assert [each["event_id"] for each in told["changed"]] == ["e1"]
    shown = said(*arguments).stdout
    assert "2 events, 1 of them with another verdict" in shown
    assert "  + review: Llama Guard P(unsafe)" in shown and "S9 Indiscriminate Weapons" in shown
    said(*arguments, "--policy", "nope", code=2)
    said("diff", "none.toml", "lax.toml", "--events", "nowhere.jsonl", "--stand-in", code=2)
