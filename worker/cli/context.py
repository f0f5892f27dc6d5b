"""What every command gets from the options before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from worker.observability.logs import configure_logs
from worker.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class CliState:
    """The common options."""

    config: Path | None


def settings_of(context: typer.Context, **overrides: Any) -> Settings:
    """The settings of a command, with its own options over them (None: not given). Configures the logs. Raises
    SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = load_settings(context.obj.config, given)
    configure_logs(settings.log_format, settings.log_level)
    return settings
