"""The policies file: what can be written, what is refused and how, and which policy an event gets."""

from pathlib import Path
from typing import Any

import pytest

from worker.contract.chat_event import ChatEvent
from worker.contract.errors import Stage, Unjudgeable
from worker.policy.errors import PolicyError
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.store import PolicyStore
from worker.settings import Settings

EXAMPLE = """
[policies.default]
unsafe_threshold = 0.4

[policies.children]
excluded_categories = ["S13", "S6"]
unsafe_threshold = 0.2
review_band = [0.1, 0.2]
prompt_attack_threshold = 0.9
prompt_attack_action = "review"

[policies."with spaces"]

[tenants]
playground = "children"
"ünï corp" = "with spaces"
plain = "default"
"""


def store(path: Path, text: str) -> PolicyStore:
    file = path / "policies.toml"
    file.write_text(text, encoding="utf-8")
    return PolicyStore.from_file(file)


def event(**fields: Any) -> ChatEvent:
    return ChatEvent.model_validate(
        {"event_id": "e", "conversation_id": "c", "messages": [{"role": "user", "content": "x"}], **fields}
    )


# -- which policy


def test_without_a_file_there_is_the_default_alone() -> None:
    assert PolicyStore().names == ("default",)
    assert PolicyStore().for_event(event(tenant="anyone")) is DEFAULT_POLICY
    assert PolicyStore.of(Settings()).names == ("default",)


def test_the_settings_name_the_file(tmp_path: Path) -> None:
    store(tmp_path, EXAMPLE)
    policies = PolicyStore.of(Settings(policies_file=tmp_path / "policies.toml"))
    assert policies.names == ("default", "children", "with spaces")


def test_every_value_can_be_written(tmp_path: Path) -> None:
    assert store(tmp_path, EXAMPLE).for_event(event(policy="children")) == Policy(
        name="children",
        excluded_categories=("S6", "S13"),
        unsafe_threshold=0.2,
        review_band=(0.1, 0.2),
        prompt_attack_threshold=0.9,
        prompt_attack_action="review",
    )


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, "default"),
        ({"tenant": "unknown"}, "default"),
        ({"tenant": "plain"}, "default"),
        ({"tenant": "playground"}, "children"),
        ({"tenant": "ünï corp"}, "with spaces"),
        ({"tenant": "playground", "policy": "with spaces"}, "with spaces"),
        ({"policy": "default", "tenant": "playground"}, "default"),
    ],
)
def test_an_event_gets_the_policy_it_names_else_its_tenants_else_the_default(
    tmp_path: Path, fields: dict[str, str], policy: str
) -> None:
    assert store(tmp_path, EXAMPLE).for_event(event(**fields)).name == policy


def test_the_files_default_replaces_the_built_in_one(tmp_path: Path) -> None:
    assert store(tmp_path, EXAMPLE).for_event(event()).unsafe_threshold == 0.4


def test_what_a_policy_does_not_say_is_the_releases_value_not_the_files_default(tmp_path: Path) -> None:
    assert store(tmp_path, EXAMPLE).for_event(event(policy="with spaces")) == Policy(name="with spaces")


def test_a_tenant_may_have_the_default_though_the_file_does_not_define_it(tmp_path: Path) -> None:
    assert store(tmp_path, '[tenants]\na = "default"').for_event(event(tenant="a")) is DEFAULT_POLICY


def test_an_unknown_policy_makes_the_event_unjudgeable(tmp_path: Path) -> None:
    with pytest.raises(Unjudgeable) as caught:
        store(tmp_path, EXAMPLE).for_event(event(policy="childern", tenant="playground"))
    assert (caught.value.error_type, caught.value.stage) == ("unknown_policy", Stage.POLICY)
    assert "default, children, with spaces" in caught.value.message
    assert "childern" not in caught.value.message  # a sender's text


def test_of_many_policies_the_message_names_some() -> None:
    policies = PolicyStore({f"p{number}": Policy(name=f"p{number}") for number in range(500)})
    with pytest.raises(Unjudgeable) as caught:
        policies.for_event(event(policy="x"))
    assert caught.value.message.endswith("p8, ...")


# -- files that cannot be used


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "[policies.a]\nunsafe_treshold = 0.5",
            "policies.a.unsafe_treshold: there is no such key; did you mean 'unsafe_threshold'?",
        ),
        (
            "[policies.a]\nunsafe_threshold = 1.5",
            "policies.a.unsafe_threshold: Input should be less than or equal to 1",
        ),
        (
            "[policies.a]\nunsafe_threshold = nan",
            "policies.a.unsafe_threshold: Input should be less than or equal to 1",
        ),
        ("[policies.a]\nreview_band = [0.6, 0.4]", "policies.a: review_band must be [from, to] with from < to"),
        ('[policies.a]\nreview_band = [0.4, "x"]', "policies.a.review_band.1: Input should be a valid number"),
        (
            '[policies.a]\nexcluded_categories = ["S99"]',
            "policies.a.excluded_categories: unknown category keys ['S99']",
        ),
        ('[policies.a]\nprompt_attack_action = "block"', "policies.a.prompt_attack_action: Input should be 'unsafe'"),
        ('[policies.a]\nname = "b"', "policies.a.name: the table's own name is the policy's name"),
        ("[policies]\na = 1", "policies.a: Input should be a valid dictionary"),
        ("policies = 1", "policies: Input should be a valid dictionary"),
        ("[tenants]\na = 1", "tenants.a: Input should be a valid string"),
        ('[tenants]\na = "nowhere"', "tenants.a names the policy 'nowhere', which is not in [policies]"),
        ("[tenant]", "tenant: there is no such key; did you mean 'tenants'?"),
        ('[tenants]\na = "b"\n[policies.be]', "'b', which is not in [policies]; did you mean 'be'?"),
        ('[policies.a]\nbase = "b"', "policies.a.base: no policy is named 'b'"),
        ('[policies.a]\nbase = "a"', "policies.a.base: a circle, a -> a"),
        ("[policies.a.categories.S99]", "policies.a.categories: unknown category keys ['S99']"),
        ("[policies.a.categories.S9]\naction = 1", "policies.a.categories.S9.action: Input should be 'unsafe'"),
        ("", "says nothing: neither [policies] nor [tenants]"),
        ("# nothing", "says nothing"),
        ("[policies.a]\nunsafe_threshold = " + "1" * 5000, "cannot read the policies file: Exceeds the limit"),
        ("[policies.a]\nx = 2026-13-45", "cannot read the policies file"),
        ('[policies."a\\nb"]', "name: String should match pattern"),
        ("[policies.a]\nx =", "cannot read the policies file"),
        ("[policies.a]\n[policies.a]", "cannot read the policies file"),
    ],
)
def test_a_fault_is_named_with_file_and_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(PolicyError) as caught:
        store(tmp_path, text)
    assert fault in str(caught.value)
    assert str(tmp_path / "policies.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_of_a_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policies\.a\.unsafe_threshold: .*; policies\.a\.colour: "):
        store(tmp_path, '[policies.a]\ncolour = "red"\nunsafe_threshold = 2')


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    tables = "".join(f"[policies.p{number}]\nunsafe_threshold = 2\n" for number in range(30))
    with pytest.raises(PolicyError, match=r"and 22 more faults$") as caught:
        store(tmp_path, tables + '[tenants]\na = "x"\nb = "y"')
    assert len(caught.value.faults) == 32
    assert str(caught.value.faults[-1]).startswith(f"{tmp_path / 'policies.toml'}: tenants.b names the policy 'y'")


def test_a_fault_of_the_document_hides_none_within_its_policies(tmp_path: Path) -> None:
    broken = '[policies]\nc = 1\n[policies.a]\ncolour = "red"\n[polices.b]\n[tenants]\nt = "b"'
    with pytest.raises(PolicyError) as caught:
        store(tmp_path, broken)
    told = [fault.words for fault in caught.value.faults]
    assert [words.split(":")[0] for words in told] == ["policies.c", "polices", "policies.a.colour"]
    assert told[1].endswith("did you mean 'policies'?")


def test_ten_thousand_tenants_with_a_policy_each_are_read(tmp_path: Path) -> None:
    tables = [f'[policies.p{n}]\nbase = "strict"\nexcluded_categories = ["S{n % 13 + 1}"]' for n in range(10_000)]
    tenants = [f'tenant-{n} = "p{n}"' for n in range(10_000)]
    text = "\n".join(["[policies.strict]", "unsafe_threshold = 0.3", *tables, "[tenants]", *tenants])
    policies = store(tmp_path, text)
    assert len(policies.names) == 10_002
    assert policies.of_tenant("tenant-9999") == Policy(
        name="p9999", unsafe_threshold=0.3, excluded_categories=(f"S{9999 % 13 + 1}",)
    )


def test_ten_thousand_faults_are_found_as_quickly(tmp_path: Path) -> None:
    tenants = "\n".join(f'tenant-{n} = "pp{n}"' for n in range(10_000))
    tables = "\n".join(f'[policies.p{n}]\nbase = "q{n}"' for n in range(2_000))
    with pytest.raises(PolicyError) as caught:
        store(tmp_path, f"{tables}\n[tenants]\n{tenants}")
    assert len(caught.value.faults) == 12_000


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert store(tmp_path, "\ufeff[policies.a]").names == ("default", "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml.*No such file"):
        PolicyStore.from_file(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "policies.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(PolicyError, match="cannot read the policies file"):
        PolicyStore.from_file(file)
