"""What is switched off starts nothing."""

from typing import Any

import pytest

from tests.settings_rig import clean_settings
from worker.local.ports import free_ports
from worker.settings import Settings
from worker.stream.app import create_app

__all__ = ["clean_settings"]


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, ["Sampler", "ModerationService"]),
        ({"status_page": False}, ["ModerationService"]),
        ({"reviews_topic": "decisions"}, ["Sampler", "ModerationService", "Reviews"]),
    ],
)
def test_a_service_runs_where_its_setting_asks_for_it(settings: dict[str, Any], own: list[str]) -> None:
    """Beside Faust's own; the moderation stops before what reads it, and the reviews before the moderation's drain."""
    (port,) = free_ports(1)
    app = create_app(Settings(bootstrap_servers="127.0.0.1:1", web_port=port, **settings))
    services = [type(each).__name__ for each in app.boot_strategy.server()]
    assert services[-len(own) :] == own
    assert not {"Sampler", "Reviews"} - set(own) & set(services)
