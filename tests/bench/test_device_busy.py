"""The bench of the device's idle times: that it measures what it says. How much it is, no test says."""

import random

import pytest

from worker.bench.device_busy import (
    Load,
    SimulatedDevice,
    _idle_with_checks_ready,
    _Run,
    _Tape,
    device_busy,
    sample_events,
)


def test_idle_counts_only_where_checks_are_ready() -> None:
    tape = _Tape()  # what is before the first batch does not count
    tape.ready = [(0.0, 1), (1.5, 2), (5.0, 1)]
    tape.runs = [_Run(began, ended, ended - began, checks, 1, 1) for began, ended, checks in [(1, 2, 1), (2.5, 4, 2)]]
    tape.runs.append(_Run(5.25, 6, 0.75, 1, 1, 1))
    assert _idle_with_checks_ready(tape) == 0.5 + 0.25


@pytest.mark.parametrize(("share", "pictured"), [(0.0, 0), (1.0, 20)])
def test_the_events_hold_the_wanted_share_of_images(share: float, pictured: int) -> None:
    events = sample_events(Load(events=20, image_share=share), random.Random(0))
    assert len(events) == 20
    assert sum(any(message.images for message in event.messages) for event in events) == pictured


@pytest.mark.models
def test_every_event_goes_through_the_moderator() -> None:
    device = SimulatedDevice(seconds_per_token=1e-7, seconds_per_batch=0.001)
    found = device_busy(Load(events=40, image_share=0.1, events_per_second=1000), device, batch_tokens=1024)
    assert 0 < found.share_computing <= found.share <= found.share_with_checks_ready <= 1
    assert found.batches > 1
    assert 0 <= found.padding < 1
    assert 0 < found.latency_p50 <= found.latency_p99
