"""The storm's short forms, on a Kafka of their own; `make storm` runs the full ones."""

import logging
from pathlib import Path

import pytest

from tests.chaos.plan import SHORT_HISTORY, SHORT_STORM, Act, Form
from tests.chaos.report import Report
from tests.chaos.storm import storm
from worker.local.broker import KafkaUnavailable

pytestmark = pytest.mark.kafka  # for the order of the tests: these come with the slow ones
SEED = 1


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Our own clients, while the broker is away."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


def run(form: Form, folder: Path) -> Report:
    """One storm; no rule of it may be broken."""
    try:
        report = storm(form, SEED, folder)
    except KafkaUnavailable as cause:
        pytest.fail(f"{cause}\nLeave these tests out: -m 'not kafka'", pytrace=False)
    assert report.violations == [], str(report)
    return report


def test_a_short_storm_loses_nothing_and_explains_every_duplicate(tmp_path: Path) -> None:
    report = run(SHORT_STORM, tmp_path)
    assert report.restarts >= 8
    assert report.acts[Act.BOUNCE] == 1
    assert report.ledger.asked >= SHORT_STORM.events
    assert report.ledger.poisons == SHORT_STORM.poisons
    assert report.ledger.twins, "no kill met anything that was published and not committed: this showed little"


@pytest.mark.chaos
def test_stops_joins_and_a_rolling_restart_on_transactions_and_a_compacted_topic_repeat_nothing(tmp_path: Path) -> None:
    report = run(SHORT_HISTORY, tmp_path)
    assert report.ledger.twins == []
    assert report.acts[Act.ROLL] >= SHORT_HISTORY.workers, "each worker once"
    assert report.aborted > 0
    assert 0 < report.left_of_history < 0.5 * 0.2 * SHORT_HISTORY.events
