"""docs/settings.md, generated from the settings' own descriptions."""

from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings import ENV_PREFIX, Settings

_HEAD = """\
# Settings

Each setting is an environment variable, or the lower-case key of the same name (without the prefix) in the TOML file
that `--config` or `MODERATION_CONFIG` names, else `moderation.toml` in the working directory. The environment wins over
the file. Unknown names and bad values are errors that name the key. Lists are comma-separated in the environment and
arrays in TOML.

This page is generated: `make schemas`.

| variable | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """The page's text."""
    rows = (
        f"| `{ENV_PREFIX}{name.upper()}` | {_default(field)} | {_meaning(field)} |"
        for name, field in Settings.model_fields.items()
    )
    return _HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value == ():
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(field: FieldInfo) -> str:
    choices = [str(each) for each in get_args(field.annotation) if isinstance(each, str)]
    text = " ".join((field.description or "").split())
    secret = " Secret." if SecretStr in (field.annotation, *get_args(field.annotation)) else ""
    return text + secret + (f" One of {', '.join(f'`{each}`' for each in choices)}." if choices else "")
