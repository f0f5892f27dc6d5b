"""The disk of the model cache fills up in the middle of a download: one line, and half a file is never a model."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from tests.guards.fake_hub import COMMIT, MODEL, FakeHub, fake_hub
from worker.exit_codes import ExitCode
from worker.guards.errors import ModelUnavailable
from worker.guards.hub import Hub
from worker.guards.loading import Wanted, resolve_model

SIZE: Final = 1 << 20
HEADER: Final = json.dumps({"w": {"dtype": "F32", "shape": [SIZE // 4], "data_offsets": [0, SIZE]}}).encode()
WEIGHTS: Final = len(HEADER).to_bytes(8, "little") + HEADER + bytes(SIZE)
FILES: Final = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
WANTED: Final = Wanted("prompt-guard-2", "prompt_guard", MODEL, COMMIT)
ROOM: Final = 256 << 10  # the size of a file stands for that of the disk: less than the weights


@pytest.fixture
def server() -> Iterator[FakeHub]:
    with fake_hub(dict(FILES)) as hub:
        yield hub


def resolve(server: FakeHub, cache: Path, **options: Any) -> Path:
    return resolve_model(WANTED, Hub(cache=cache, endpoint=server.url, **options), lambda line: None).path


FAULTS: Final = (
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("I/O error: No space left on device (os error 28)"),  # as libraries in Rust have it
)


@pytest.mark.parametrize("fault", FAULTS)
def test_half_a_file_is_never_a_model(
    fault: Exception, server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_url: str, file: Any, **options: Any) -> NoReturn:
        file.write(WEIGHTS[: SIZE // 2])
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(ModelUnavailable, match="disk is full") as unavailable:
            resolve(server, tmp_path)
    assert "MODERATION_MODEL_CACHE" in str(unavailable.value) and "\n" not in str(unavailable.value)
    with pytest.raises(ModelUnavailable, match="not whole"):
        resolve(server, tmp_path, offline=True)
    assert (resolve(server, tmp_path) / "model.safetensors").read_bytes() == WEIGHTS


def test_models_fetch_ends_with_78_and_says_so(server: FakeHub, tmp_path: Path) -> None:
    done = fetch(server, tmp_path, ROOM)
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert "error: the disk is full: acme/guard" in done.stderr and "Traceback" not in done.stderr
    whole = {path.name: path for path in tmp_path.rglob("snapshots/*/*")}
    assert "model.safetensors" not in whole
    assert not list(tmp_path.rglob("*.incomplete")), "what nobody can use takes no room"
    again = fetch(server, tmp_path, resource.RLIM_INFINITY)
    assert again.returncode == 0, again.stderr
    (found,) = tmp_path.rglob("snapshots/*/model.safetensors")
    assert found.read_bytes() == WEIGHTS


def fetch(server: FakeHub, home: Path, room: int) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MODERATION_", "HF_"))}
    names = {"LLAMA_GUARD_MODEL": "stand-in", "PROMPT_GUARD_MODEL": MODEL, "PROMPT_GUARD_REVISION": COMMIT}
    environment = {
        **kept,
        **{f"MODERATION_{name}": value for name, value in names.items()},
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "COLUMNS": "1000",
    }
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY)); "
    command = [sys.executable, "-c", f"{limited}from worker.cli.main import main; main()", "models", "fetch"]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False)
