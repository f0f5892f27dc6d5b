"""Policies that change under load: each verdict is by policies that lay there whole, and no event fails.

The policies file lies as Kubernetes mounts a ConfigMap: behind two links, of which one is swapped.
"""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from tests.stream.rig import Outcomes, Rig, chat_event, metric, until
from worker.exit_codes import ExitCode
from worker.local.workers import WorkerProcess
from worker.policy.policy import Policy

pytestmark = pytest.mark.kafka

EVERY_CHANGE = 100  # events, on their way while it happens


@dataclass
class Mount:
    """A mounted ConfigMap with the key policies.toml, and the history of what was in it."""

    path: Path
    versions: int = 0
    written: dict[str, tuple[int, datetime]] = field(default_factory=dict)  # hash -> version, just before it was there

    @property
    def file(self) -> Path:
        return self.path / "policies.toml"

    def next(self) -> str:
        """The next version's text; it is in the history from now on."""
        self.versions += 1
        threshold, now = 0.2 + self.versions / 1000, datetime.now(UTC)
        for name in ("default", "strict"):
            policy = Policy(name=name, unsafe_threshold=threshold, images="review" if name == "strict" else "judge")
            self.written[policy.hash] = self.versions, now
        return self.text(threshold)

    @staticmethod
    def text(threshold: float) -> str:
        """A policies file."""
        return (
            f"# {'padding ' * 500}\n[policies.default]\nunsafe_threshold = {threshold}\n"
            '[policies.strict]\nbase = "default"\nimages = "review"\n[tenants]\nacme = "strict"\n'
        )

    def swap(self, text: str) -> None:
        """As the kubelet does: a new directory, and the link to it renamed over the old one."""
        folder = self.path / f"..{self.versions}-{len(list(self.path.iterdir()))}"
        folder.mkdir()
        (folder / "policies.toml").write_text(text)
        (self.path / "..tmp").symlink_to(folder.name)
        (self.path / "..tmp").replace(self.path / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/policies.toml")


class Changes:
    """A person, or a pipeline, who changes policies in every way there is, and waits until the worker has seen it."""

    def __init__(self, mount: Mount, worker: WorkerProcess) -> None:
        self._mount, self._worker = mount, worker
        self.loaded = self.refused = 0.0
        faults = [self._broken, self._out_of_range, self._circle, self._half_written, self._vanished, self._empty]
        self._faults = itertools.cycle(faults)

    async def one(self, number: int) -> None:
        """A good version by a swap; before every other one, a bad one."""
        if number % 2:
            next(self._faults)()
            # More where the machine stands still in the midst of a fault: what lies there then is one as well.
            self.refused = await self._more("refused", self.refused)
        self._mount.swap(self._mount.next())
        loaded = await self._more("loaded", self.loaded)
        assert loaded == self.loaded + 1
        self.loaded = loaded

    async def _more(self, outcome: str, before: float) -> float:
        """The count of these reloads, once it is above what it was."""
        name = f'moderation_policy_reloads_total{{outcome="{outcome}"}}'
        await until(lambda: (metric(self._worker, name) or 0) > before)
        return metric(self._worker, name) or 0

    def _broken(self) -> None:
        self._mount.swap("[policies.default\nunsafe_threshold = 0.1")

    def _out_of_range(self) -> None:
        self._mount.swap("[policies.default]\nunsafe_threshold = 0.1\n[policies.other]\nunsafe_threshold = 7")

    def _circle(self) -> None:
        self._mount.swap('[policies.default]\nbase = "a"\n[policies.a]\nbase = "default"')

    def _half_written(self) -> None:
        """In place, up to the middle of a word."""
        text = self._mount.text(0.1)
        self._mount.file.write_text(text[: text.index("unsafe_threshold") + 8])

    def _vanished(self) -> None:
        self._mount.file.unlink()

    def _empty(self) -> None:
        self._mount.file.write_text("")


def event(number: int) -> bytes:
    tenant = {"tenant": "acme"} if number % 3 else {}
    return chat_event(f"{'bomb' if number % 5 else 'cake'} {number}", **tenant)


async def changed_under_load(rig: Rig, changes: int) -> None:
    mount = Mount(rig.folder / "mount")
    mount.path.mkdir()
    mount.swap(mount.next())
    first_version: dict[str, int] = {}  # verdict id -> the version that acted when its event was sent
    settings = {"policies_file": mount.path, "policies_reload_seconds": 0.02, "verdict_cache_bytes": 0}
    async with rig.outcomes() as outcomes:
        with rig.worker(**settings) as worker:
            await rig.ready(worker)
            person = Changes(mount, worker)
            for number in range(changes):
                acting = mount.versions
                chunk = range(number * EVERY_CHANGE, (number + 1) * EVERY_CHANGE)
                sending = asyncio.create_task(rig.send((b"%d" % each, event(each)) for each in chunk))
                await person.one(number)
                first_version |= dict.fromkeys(map(str, await sending), acting)
                # However slow the worker is, the changes do not leave the events behind.
                before = chunk.start
                await outcomes.until(lambda seen, before=before: len(seen.records) >= before)
            last = await rig.send([(None, event(1)), (None, event(3))])
            first_version |= dict.fromkeys(map(str, last), mount.versions)
            await outcomes.until_answered([*rig.places], seconds=200)
            assert (await asyncio.to_thread(worker.stop)) == ExitCode.OK
        await outcomes.read_to_end()
    assert set(outcomes.ids.values()) == {1} and len(outcomes.ids) == changes * EVERY_CHANGE + 2
    assert outcomes.counts["dead_letter"] == 0
    _check(outcomes, mount, first_version, changes)


def _check(outcomes: Outcomes, mount: Mount, first_version: dict[str, int], changes: int) -> None:
    seen: Counter[int] = Counter()
    for record in outcomes.records:
        verdict = orjson.loads(record.value)
        assert verdict["policy"]["hash"] in mount.written, "policies that never lay there whole"
        version, written = mount.written[verdict["policy"]["hash"]]
        assert datetime.fromisoformat(verdict["decided_at"]) >= written, "before it was written"
        assert version >= first_version[verdict["verdict_id"]], "after a newer one acted"
        assert verdict["policy"]["name"] == ("strict" if verdict["tenant"] else "default")
        seen[version] += 1
    assert max(seen) == mount.versions
    assert len(seen) > changes / 4, "of the versions that acted, few judged: the events did not flow meanwhile"


async def test_policies_change_under_load(rig: Rig) -> None:
    await changed_under_load(rig, changes=20)


@pytest.mark.chaos
async def test_policies_change_two_hundred_times_during_twenty_thousand_events(rig: Rig) -> None:
    await changed_under_load(rig, changes=200)
