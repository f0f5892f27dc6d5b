"""What every command gets from the options before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.observability.logs import configure_logs
from worker.policy.policy import DEFAULT_POLICY, Policy
from worker.policy.store import PolicyStore
from worker.settings import STAND_IN, Settings, load_settings

_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class CliState:
    """The common options."""

    config: Path | None


StandInOption = Annotated[
    bool, typer.Option("--stand-in", help="Judge with the shipped stand-ins: no GPU, no download, no meaning.")
]


def settings_of(context: typer.Context, *, stand_in: bool = False, **overrides: Any) -> Settings:
    """The settings of a command, with its own options over them (None: not given). Configures the logs. Raises
    SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    if stand_in:
        given |= {"llama_guard_model": STAND_IN, "prompt_guard_model": STAND_IN}
    settings = load_settings(context.obj.config, given)
    configure_logs(settings.log_format, settings.log_level)
    return settings


def policy_of(policies: PolicyStore, named: str | None) -> Policy:
    """The policy by name, else the default one. Raises BadParameter for a name that is not known."""
    found = policies.named(named or DEFAULT_POLICY.name)
    if found is None:
        more = ", ..." if len(policies.names) > _MOST_LISTED else ""
        raise typer.BadParameter(f"no policy {named!r}; known are {', '.join(policies.names[:_MOST_LISTED])}{more}")
    return found
