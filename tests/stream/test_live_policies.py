"""Live policies: what acts after a change, what metrics and log say of it, and that a fault is said once."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from worker.contract.chat_event import ChatEvent
from worker.observability import metrics
from worker.policy.errors import PolicyError
from worker.settings import Settings
from worker.stream.live_policies import LivePolicies
from worker.stream.outcome_counts import OutcomeCounts

EVENT = ChatEvent.model_validate(
    {"event_id": "e", "conversation_id": "c", "tenant": "acme", "messages": [{"role": "user", "content": "x"}]}
)


def text(threshold: float, *tenants: str) -> str:
    named = "".join(f'{tenant} = "a"\n' for tenant in tenants or ("acme",))
    return f"[policies.a]\nunsafe_threshold = {threshold}\n[tenants]\n{named}"


class Folder:
    """A policies file and the policies of a worker that watches it."""

    def __init__(self, path: Path, **settings: float) -> None:
        self.file = path / "policies.toml"
        self.file.write_text(text(0.1))
        self.now = 1000.0
        self.live = LivePolicies(Settings(policies_file=self.file, **settings), now=lambda: self.now)

    @property
    def threshold(self) -> float:
        return self.live.for_event(EVENT).unsafe_threshold

    async def write(self, content: str) -> None:
        self.file.write_text(content)
        await self.live.look()
        await self.live.look()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def reloads(outcome: str) -> float:
    return value("moderation_policy_reloads_total", outcome=outcome)


async def test_a_change_acts_on_the_next_event_and_is_counted(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    before = reloads("loaded")
    assert (folder.threshold, value("moderation_policies_loaded_timestamp_seconds")) == (0.1, 1000.0)
    held = folder.live.for_event(EVENT)
    folder.now = 2000.0
    await folder.write(text(0.2))
    assert (folder.threshold, held.unsafe_threshold) == (0.2, 0.1)
    assert (reloads("loaded") - before, value("moderation_policies_loaded_timestamp_seconds")) == (1, 2000.0)


async def test_a_fault_is_said_once_and_the_last_good_policies_stay(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    before = reloads("refused")
    with capture_logs() as lines:
        await folder.write("[policies.a")
        for _ in range(5):
            await folder.live.look()
        folder.file.unlink()
        for _ in range(5):
            await folder.live.look()
        await folder.write("[policies.a")  # that was said
    assert [line["event"] for line in lines] == ["new policies cannot be used, the last good ones stay"] * 2
    assert str(folder.file) in lines[0]["fault"] and "No such file" in lines[1]["fault"]
    assert (folder.threshold, reloads("refused") - before, value("moderation_policies_refused")) == (0.1, 2, 1)
    await folder.write(text(0.3))
    assert (folder.threshold, value("moderation_policies_refused")) == (0.3, 0)
    await folder.write("[policies.a")
    assert reloads("refused") - before == 3


async def test_the_old_content_again_ends_the_fault(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    await folder.write("broken")
    assert value("moderation_policies_refused") == 1
    folder.file.write_text(text(0.1))
    with capture_logs() as lines:
        for _ in range(3):
            await folder.live.look()
    assert value("moderation_policies_refused") == 0
    assert [line["event"] for line in lines] == ["the policies file is as it was: what it says acts"]


async def test_the_tenants_of_metrics_follow_and_stay_bounded(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics_tenants=2)
    counts = OutcomeCounts(())
    folder.live.follow_tenants(counts.tell_apart)
    for number in range(20):
        await folder.write(text(0.1, "acme", f"t{number}", f"u{number}"))
    (family,) = metrics.TENANT_VERDICTS.collect()
    named = {sample.labels["tenant"] for sample in family.samples}
    assert {"acme", "t19", "other", "none"} <= named
    assert not named & {"t18", "u19"}


async def test_without_a_file_or_with_0_seconds_nobody_looks(tmp_path: Path) -> None:
    built_in, folder = LivePolicies(Settings()), Folder(tmp_path, policies_reload_seconds=0)
    folder.file.write_text(text(0.2))
    async with asyncio.timeout(60):
        for live in (built_in, folder.live):
            await live.often()
    await built_in.look()
    assert (built_in.store.names, folder.threshold) == (("default",), 0.1)


async def test_a_worker_does_not_start_with_policies_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        LivePolicies(Settings(policies_file=tmp_path / "nowhere.toml"))
