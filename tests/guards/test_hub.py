"""The hub: pinned downloads, and one line of help for everything that goes wrong. The hub is a fake on 127.0.0.1."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.guards.fake_hub import COMMIT, MODEL, FakeHub, fake_hub
from worker.guards.errors import ModelUnavailable
from worker.guards.hub import Hub
from worker.guards.loading import Wanted, is_on_hub, pinned, resolve_model

OTHER_COMMIT: Final = "f" * 40
HEADER: Final = json.dumps({"weight": {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}}).encode()
WEIGHTS: Final = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4096)
FILES: Final = {
    "config.json": b'{"model_type": "deberta-v2"}',
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
}
UNWANTED: Final = {
    "pytorch_model.bin": b"pickle",
    "training_args.pt": b"pickle",
    "original/model.pth": b"pickle",
    "original/params.json": b"{}",
    "modeling.py": b"raise SystemExit",
    "README.md": b"# Guard",
}

MakeHub = Callable[..., Hub]


def silent(line: str) -> None:
    """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's attempts
    with fake_hub({**FILES, **UNWANTED}) as hub:
        yield hub


@pytest.fixture
def make_hub(server: FakeHub, tmp_path: Path) -> MakeHub:
    def make(**options: Any) -> Hub:
        return Hub(**{"token": "hf_test", "cache": tmp_path / "cache", "endpoint": server.url} | options)

    return make


def wanted(source: str = MODEL, revision: str | None = COMMIT) -> Wanted:
    return Wanted("prompt-guard-2", "prompt_guard", source, revision)


def complaint(wanted: Wanted, hub: Hub) -> str:
    """What is said where the model cannot be had: one line."""
    with pytest.raises(ModelUnavailable) as unavailable:
        resolve_model(wanted, hub, silent)
    line = str(unavailable.value)
    assert "\n" not in line
    assert "hf_test" not in line
    return line


def test_a_pinned_model_is_downloaded_whole(make_hub: MakeHub) -> None:
    resolved = resolve_model(wanted(), make_hub(), silent)
    assert (resolved.model.id, resolved.model.revision, resolved.model.stand_in) == (MODEL, COMMIT, False)
    assert {file.name: file.read_bytes() for file in resolved.path.iterdir()} == FILES


def test_pickles_and_code_are_never_fetched(server: FakeHub, make_hub: MakeHub) -> None:
    resolve_model(wanted(), make_hub(), silent)
    assert server.fetched == set(FILES)


def test_a_model_in_the_cache_costs_no_request(server: FakeHub, make_hub: MakeHub) -> None:
    resolve_model(wanted(), make_hub(), silent)
    server.requests.clear()
    resolve_model(wanted(), make_hub(), silent)
    assert server.requests == []


def test_a_stand_in_on_the_hub_says_so(server: FakeHub, make_hub: MakeHub) -> None:
    server.files["stand_in.json"] = b"{}"
    assert resolve_model(wanted(), make_hub(), silent).model.stand_in


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_model_that_is_not_pinned_is_refused(server: FakeHub, make_hub: MakeHub, revision: str | None) -> None:
    line = complaint(wanted(revision=revision), make_hub())
    assert "prompt_guard_revision" in line
    assert "models fetch" in line
    assert server.requests == []


def test_fetching_pins_the_newest_commit(make_hub: MakeHub) -> None:
    assert pinned(wanted(revision=None), make_hub()).revision == COMMIT
    assert pinned(wanted(revision="main"), make_hub()).revision == COMMIT
    assert pinned(wanted(revision=OTHER_COMMIT), make_hub()).revision == OTHER_COMMIT
    assert pinned(wanted("stand-in", None), make_hub()).revision is None


def test_a_missing_commit(make_hub: MakeHub) -> None:
    assert f"no revision {OTHER_COMMIT}" in complaint(wanted(revision=OTHER_COMMIT), make_hub())


def test_a_missing_branch(make_hub: MakeHub) -> None:
    with pytest.raises(ModelUnavailable, match="no revision dev"):
        make_hub().newest_commit(MODEL, "dev")


def test_an_unknown_model(make_hub: MakeHub) -> None:
    line = complaint(wanted("acme/unknown"), make_hub())
    assert "knows no model acme/unknown" in line
    assert "MODERATION_HF_TOKEN" in line


def test_a_gated_model_without_the_right(server: FakeHub, make_hub: MakeHub) -> None:
    server.gated_without = "hf_right"
    line = complaint(wanted(), make_hub())
    assert "gated" in line
    assert "licence" in line
    assert "MODERATION_HF_TOKEN" in line


def test_a_gated_model_with_the_right(server: FakeHub, make_hub: MakeHub) -> None:
    server.gated_without = "hf_right"
    assert resolve_model(wanted(), make_hub(token="hf_right"), silent).model.id == MODEL


def test_a_download_that_breaks_off_is_never_used_and_goes_on_later(server: FakeHub, make_hub: MakeHub) -> None:
    server.cut = "model.safetensors"
    assert "broke off" in complaint(wanted(), make_hub())
    assert "not whole" in complaint(wanted(), make_hub(offline=True))
    server.cut = None
    server.requests.clear()
    resolved = resolve_model(wanted(), make_hub(), silent)
    assert (resolved.path / "model.safetensors").read_bytes() == WEIGHTS
    assert "config.json" not in server.fetched  # what was whole is kept


def test_a_hub_in_trouble(server: FakeHub, make_hub: MakeHub) -> None:
    server.down = True
    assert "the hub answered 503" in complaint(wanted(), make_hub())


def test_offline_after_a_download(server: FakeHub, make_hub: MakeHub) -> None:
    resolve_model(wanted(), make_hub(), silent)
    server.requests.clear()
    assert resolve_model(wanted(), make_hub(offline=True), silent).model.id == MODEL
    assert server.requests == []


def test_offline_without_a_download(server: FakeHub, make_hub: MakeHub) -> None:
    line = complaint(wanted(), make_hub(offline=True))
    assert "MODERATION_OFFLINE" in line
    assert "models fetch" in line
    assert server.requests == []


def test_offline_nothing_can_be_pinned(make_hub: MakeHub) -> None:
    with pytest.raises(ModelUnavailable, match="revision"):
        pinned(wanted(revision=None), make_hub(offline=True))


def test_no_network(make_hub: MakeHub) -> None:
    line = complaint(wanted(), make_hub(endpoint="http://127.0.0.1:1"))
    assert "cannot be reached" in line
    assert "MODERATION_OFFLINE" in line


def test_no_network_but_a_whole_cache(make_hub: MakeHub) -> None:
    resolve_model(wanted(), make_hub(), silent)
    assert resolve_model(wanted(), make_hub(endpoint="http://127.0.0.1:1"), silent).model.revision == COMMIT


def test_a_full_disk(make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    assert "disk is full" in complaint(wanted(), make_hub())


def test_a_shard_that_the_index_names_must_be_there(server: FakeHub, make_hub: MakeHub) -> None:
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    server.files["model.safetensors.index.json"] = json.dumps({"weight_map": shards}).encode()
    server.files["model-00001-of-00002.safetensors"] = server.files.pop("model.safetensors")
    assert "lacks model-00002-of-00002.safetensors" in complaint(wanted(), make_hub())


def test_broken_weights_are_refused(server: FakeHub, make_hub: MakeHub) -> None:
    server.files["model.safetensors"] = WEIGHTS[:-1]
    assert f"{len(WEIGHTS) - 1} bytes instead of {len(WEIGHTS)}" in complaint(wanted(), make_hub())


def directory(folder: Path) -> Path:
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_directory_is_named_by_its_content(make_hub: MakeHub, tmp_path: Path) -> None:
    one, other = directory(tmp_path / "one"), directory(tmp_path / "other")
    first = resolve_model(wanted(str(one), None), make_hub(), silent).model
    assert (first.id, first.stand_in) == ("one", False)
    assert first.revision.startswith("local-")
    assert len(first.revision) == len("local-") + 12
    assert resolve_model(wanted(str(other), None), make_hub(), silent).model.revision == first.revision
    (other / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"\1")
    (other / "stand_in.json").write_text("{}")
    changed = resolve_model(wanted(str(other), None), make_hub(), silent).model
    assert changed.revision != first.revision
    assert changed.stand_in


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_directory_that_is_not_whole(make_hub: MakeHub, tmp_path: Path, name: str) -> None:
    folder = directory(tmp_path / "model")
    (folder / name).unlink()
    assert name in complaint(wanted(str(folder), None), make_hub())


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, WEIGHTS[:50], b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]"])
def test_weights_that_are_none(make_hub: MakeHub, tmp_path: Path, content: bytes) -> None:
    folder = directory(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    assert "model.safetensors" in complaint(wanted(str(folder), None), make_hub())


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "justaname", "a/b/c", "", "https://example.org/a"])
def test_a_source_that_is_nothing(make_hub: MakeHub, source: str) -> None:
    if source:
        assert not is_on_hub(source)
        assert "prompt_guard_model" in complaint(wanted(source, None), make_hub())


def run_fetch(server: FakeHub, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODERATION_", "HF_"))}
    environment = kept | {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "MODERATION_LLAMA_GUARD_MODEL": "stand-in",
        "MODERATION_PROMPT_GUARD_MODEL": MODEL,
        **variables,
    }
    command = [sys.executable, "-c", "from worker.cli.main import main; main()", "models", "fetch"]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False)


def test_models_fetch_prints_the_lines_to_pin(server: FakeHub, tmp_path: Path) -> None:
    server.gated_without = "hf_right"
    done = run_fetch(server, tmp_path, MODERATION_HF_TOKEN="hf_right")
    assert done.returncode == 0, done.stderr
    assert f"MODERATION_PROMPT_GUARD_REVISION={COMMIT}" in done.stdout.splitlines()
    assert f"MODERATION_PROMPT_GUARD_MODEL={MODEL}" in done.stdout.splitlines()
    assert "stand-in/llama-guard-4" in done.stdout
    assert str(tmp_path) in done.stdout
    again = run_fetch(server, tmp_path, MODERATION_OFFLINE="true", MODERATION_PROMPT_GUARD_REVISION=COMMIT)
    assert again.returncode == 0, again.stderr
    assert "Pin" not in again.stdout


def test_models_fetch_explains_a_gated_model(server: FakeHub, tmp_path: Path) -> None:
    server.gated_without = "hf_right"
    done = run_fetch(server, tmp_path, HF_TOKEN="hf_wrong")
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert "accept Meta's licence" in " ".join(done.stderr.split())
    assert "hf_wrong" not in done.stderr + done.stdout
    assert "Bearer hf_wrong" in server.tokens


def test_the_cache_can_be_moved(make_hub: MakeHub, tmp_path: Path) -> None:
    """A cache that was filled elsewhere, as images of a registry do."""
    resolve_model(wanted(), make_hub(), silent)
    shutil.move(tmp_path / "cache", tmp_path / "moved")
    moved = make_hub(cache=tmp_path / "moved", offline=True)
    assert (resolve_model(wanted(), moved, silent).path / "model.safetensors").read_bytes() == WEIGHTS
