"""Reload: new content acts whole or not at all, and what cannot be used changes nothing."""

import os
from pathlib import Path

import pytest

from worker.policy.errors import PolicyError
from worker.policy.policy import DEFAULT_POLICY
from worker.policy.reload import PolicyReload
from worker.policy.store import PolicyStore


def text(threshold: float, name: str = "a") -> str:
    return f"[policies.{name}]\nunsafe_threshold = {threshold}\n"


def threshold(policies: PolicyStore | None, name: str = "a") -> float | None:
    policy = policies.named(name) if policies else None
    return policy.unsafe_threshold if policy else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policies.toml"
    path.write_text(text(0.1))
    return path


def started(path: Path) -> PolicyReload:
    reload = PolicyReload(path)
    reload.first()
    return reload


def test_what_is_unchanged_is_not_taken_again(file: Path) -> None:
    reload = PolicyReload(file)
    assert threshold(reload.first()) == 0.1
    os.utime(file)
    assert [reload.look() for _ in range(3)] == [None] * 3
    assert reload.in_place


def test_a_change_acts_at_the_second_look_that_sees_it(file: Path) -> None:
    reload = started(file)
    file.write_text(text(0.2))
    assert reload.look() is None
    assert not reload.in_place
    assert threshold(reload.look()) == 0.2
    assert reload.in_place
    assert reload.look() is None


def test_a_file_that_is_still_being_written_is_waited_for(file: Path) -> None:
    reload = started(file)
    whole = text(0.2) + text(0.3, "b")
    for end in range(len(text(0.2)), len(whole)):  # each of these beginnings would be policies
        file.write_text(whole[:end])
        assert reload.look() is None
    file.write_text(whole)
    assert reload.look() is None
    assert threshold(reload.look(), "b") == 0.3


def test_a_change_and_back_is_none(file: Path) -> None:
    reload = started(file)
    file.write_text(text(0.2))
    reload.look()
    file.write_text(text(0.1))
    assert [reload.look(), reload.look()] == [None, None]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[policies.a]\nunsafe_thre", "cannot read the policies file"),
        (b"[policies.a]\nunsafe_threshold = 2", "policies.a.unsafe_threshold"),
        (b"[policies.a]\nname = 'b'", "policies.a.name"),
        (b"\xff", "cannot read the policies file"),
        (b"", "says nothing"),
        (b"x = " + b"[" * 100_000, "too deeply nested"),
    ],
)
def test_what_cannot_be_used_is_never_taken_and_told_at_each_look(file: Path, content: bytes, fault: str) -> None:
    reload = started(file)
    file.write_bytes(content)
    assert reload.look() is None
    for _ in range(3):
        with pytest.raises(PolicyError, match=fault):
            reload.look()
        assert not reload.in_place
    file.write_text(text(0.2))
    assert reload.look() is None
    assert threshold(reload.look()) == 0.2


def test_a_file_that_vanished_is_told_and_taken_when_it_is_back(file: Path) -> None:
    reload = started(file)
    file.unlink()
    assert reload.look() is None
    for _ in range(2):
        assert not reload.in_place
        with pytest.raises(PolicyError, match="No such file"):
            reload.look()
    file.write_text(text(0.1))
    assert reload.look() is None
    assert reload.in_place
    file.unlink()
    assert reload.look() is None
    file.write_text(text(0.2))
    assert reload.look() is None
    assert threshold(reload.look()) == 0.2


def test_a_file_that_is_gone_for_one_look_is_no_fault(file: Path) -> None:
    """Many an editor and script takes the old file away before it puts the new one there."""
    reload = started(file)
    for content in (text(0.1), text(0.2)):
        file.unlink()
        assert reload.look() is None
        file.write_text(content)
        taken = [reload.look(), reload.look()]
    assert threshold(taken[1]) == 0.2


def test_a_configmap_whose_link_is_swapped_is_seen(tmp_path: Path) -> None:
    """As the kubelet does it: real files in a hidden directory, links to them, and one link that is renamed over."""
    mount = tmp_path / "mount"
    for number in (1, 2):
        (mount / f"..version{number}").mkdir(parents=True)
        version = mount / f"..version{number}" / "policies.toml"
        version.write_text(text(number / 10))
        os.utime(version, (1000, 1000))
    (mount / "..data").symlink_to("..version1")
    (mount / "policies.toml").symlink_to("..data/policies.toml")
    for path in (mount, mount / "policies.toml"):
        reload = PolicyReload(path)
        assert threshold(reload.first()) == 0.1
        (mount / "..data_tmp").symlink_to("..version2")
        (mount / "..data_tmp").rename(mount / "..data")
        assert reload.look() is None
        assert threshold(reload.look()) == 0.2
        (mount / "..data_tmp").symlink_to("..version1")
        (mount / "..data_tmp").rename(mount / "..data")


def test_a_directory_is_all_its_toml_files(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('[tenants]\nacme = "a"\n')
    (tmp_path / "a.toml").write_text(text(0.1))
    (tmp_path / ".hidden.toml").write_text("broken")
    (tmp_path / "notes.txt").write_text("broken")
    reload = PolicyReload(tmp_path)
    policies = reload.first()
    assert (policies.names, policies.of_tenant("acme").name) == (("default", "a"), "a")
    (tmp_path / "c.toml").write_text(text(0.3, "c"))
    assert reload.look() is None
    assert threshold(reload.look(), "c") == 0.3
    (tmp_path / "c.toml").unlink()
    assert reload.look() is None
    taken = reload.look()
    assert taken is not None and taken.named("c") is None
    assert taken.named("default") is DEFAULT_POLICY


def test_what_two_files_say_and_a_directory_without_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no \*\.toml file"):
        PolicyStore.from_file(tmp_path)
    (tmp_path / "a.toml").write_text(text(0.1) + '[tenants]\nacme = "a"\n')
    (tmp_path / "b.toml").write_text(text(0.2) + '[tenants]\nacme = "default"\n')
    with pytest.raises(PolicyError) as caught:
        PolicyStore.from_file(tmp_path)
    words = [fault.words for fault in caught.value.faults]
    assert words == [f"{key}: is in {tmp_path / 'a.toml'} as well" for key in ("policies.a", "tenants.acme")]
    assert {fault.path for fault in caught.value.faults} == {tmp_path / "b.toml"}
