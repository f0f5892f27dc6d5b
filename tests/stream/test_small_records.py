"""Output topics that take small records only: what goes out together must fit, too, not only each outcome."""

import base64
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stream.conftest import OUTPUTS
from tests.stream.rig import Rig, chat_event
from worker.exit_codes import ExitCode
from worker.local.broker import LocalKafka


@pytest.fixture
def narrow(kafka: LocalKafka, topics: Callable[..., str], tmp_path: Path) -> Rig:
    """Outputs of one partition that take 12 kB."""
    outputs = {name: topics(config={"max.message.bytes": "12000"}) for name in OUTPUTS}
    return Rig(kafka.bootstrap_servers, tmp_path, outputs, topics(), group=f"group-{uuid.uuid4().hex[:8]}")


async def test_many_verdicts_at_once_fit_a_topic_of_small_records(narrow: Rig) -> None:
    rng = random.Random(7)
    noise = (base64.b64encode(rng.randbytes(1500)).decode() for _ in range(500))  # it does not compress
    events = [chat_event(f"hello {number}", metadata={"noise": text}) for number, text in enumerate(noise)]
    ids = await narrow.send((None, event) for event in events)
    async with narrow.outcomes() as outcomes:
        with narrow.worker("worker", max_record_bytes=10_000) as worker:
            await outcomes.until_answered(ids, seconds=120)
            await narrow.no_lag()
            assert worker.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
    assert outcomes.counts == {"safe": 500}
