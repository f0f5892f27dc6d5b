"""The policies file that calibration writes: the base with its comments and other thresholds, checked."""

import tomllib
from pathlib import Path

import pytest

from worker.evaluation.calibrated_file import CalibratedFile
from worker.evaluation.calibration import Calibration
from worker.evaluation.estimate import proportion
from worker.evaluation.threshold import Reached, Target
from worker.policy.errors import PolicyError
from worker.policy.store import PolicyStore

FPR = Target("fpr", 0.01)
BASE = """\
# who may say what
[policies.forum]
excluded_categories = ["S9"]  # a museum of weapons
unsafe_threshold = 0.5

[policies.forum.categories.S10]
action = "review"  # people decide

[policies.strict]
base = "forum"

[tenants]
acme = "forum"
"""


def calibration(setting: str, threshold: float) -> Calibration:
    return Calibration(setting, setting, None, Reached(threshold, proportion(9, 1000), None), 1000, 1000)


def written(base: Path | None, name: str, *calibrations: Calibration, to: Path, replace: bool = False) -> str:
    file = CalibratedFile(base, name)
    for each in calibrations:
        file.set(each, FPR, "data.jsonl")
    file.write(to, replace=replace)
    return to.read_text()


def test_everything_else_stays_as_it_stands(tmp_path: Path) -> None:
    base, target = tmp_path / "policies.toml", tmp_path / "new.toml"
    base.write_text(BASE)
    changes = [calibration("unsafe_threshold", 0.75), calibration("categories.S10.threshold", 0.9)]
    text = written(base, "forum", *changes, calibration("categories.S1.threshold", 0.625), to=target)
    kept = [line for line in BASE.splitlines() if line not in ("unsafe_threshold = 0.5", "")]
    assert [line for line in text.splitlines() if line in kept] == kept
    assert "for a false positive rate of at most 0.01: reached 0.9% (0.5% to 1.7%) on 1000 held-out examples" in text
    policies = PolicyStore.from_file(target)
    forum = policies.named("forum")
    assert forum is not None and forum.unsafe_threshold == 0.75
    assert (forum.categories["S10"].action, forum.categories["S10"].threshold) == ("review", 0.9)
    assert (forum.categories["S1"].action, forum.categories["S1"].threshold) == ("unsafe", 0.625)
    assert forum.excluded_categories == ("S9",)
    assert policies.tenants == ("acme",)
    assert base.read_text() == BASE


def test_without_a_file_the_default_gets_one(tmp_path: Path) -> None:
    text = written(None, "default", calibration("prompt_attack_threshold", 0.875), to=tmp_path / "new.toml")
    assert tomllib.loads(text) == {"policies": {"default": {"prompt_attack_threshold": 0.875}}}


def test_of_a_directory_the_file_with_the_policy_is_written_anew(tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "a.toml").write_text("[policies.forum]\nunsafe_threshold = 0.5\n")
    (directory / "b.toml").write_text('[policies.strict]\nbase = "forum"\nimages = "review"\n')
    text = written(directory, "strict", calibration("unsafe_threshold", 0.25), to=tmp_path / "b.toml")
    assert tomllib.loads(text)["policies"] == {
        "strict": {"base": "forum", "images": "review", "unsafe_threshold": 0.25}
    }


def test_a_file_that_a_worker_would_refuse_is_not_written(tmp_path: Path) -> None:
    base, target = tmp_path / "policies.toml", tmp_path / "new.toml"
    base.write_text("[policies.forum]\nreview_band = [0.4, 0.6]\n")
    with pytest.raises(PolicyError, match=r"review_band \[0\.4, 0\.6\] must hold unsafe_threshold \(0\.9\)"):
        written(base, "forum", calibration("unsafe_threshold", 0.9), to=target)
    assert not target.exists()


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new.toml"
    target.write_text("of yesterday")
    one = calibration("unsafe_threshold", 0.75)
    with pytest.raises(FileExistsError):
        written(None, "default", one, to=target)
    assert target.read_text() == "of yesterday"
    assert "0.75" in written(None, "default", one, to=target, replace=True)
