"""Settings without the machine's own: no variable of it, no moderation.toml of the repository."""

import os
from pathlib import Path
from typing import Any

import pytest

from worker.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, and no moderation.toml of the repository."""
    for name in os.environ:
        if name.upper().startswith("MODERATION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def toml(directory: Path, text: str, name: str = "moderation.toml") -> Path:
    file = directory / name
    file.write_text(text, encoding="utf-8")
    return file


def complaint(*args: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)
