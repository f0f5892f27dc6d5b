"""A policies file with calibrated thresholds: the base file as it stands, comments and all, but for those."""

from datetime import date
from pathlib import Path

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.container import Container
from tomlkit.items import AbstractTable, Table

from worker.evaluation.calibration import Calibration
from worker.evaluation.estimate import Estimate
from worker.evaluation.labelled_example import DataUnusable
from worker.evaluation.threshold import Target
from worker.policy.files import read_texts
from worker.policy.store import PolicyStore


class CalibratedFile:
    """What will be written, checked as a worker would check it."""

    def __init__(self, base: Path | None, policy_name: str) -> None:
        """`base`: the policies file, or a directory of them, that has the policy; None: the built-in ones."""
        self._texts = dict(read_texts(base)) if base else {}
        self._policy_name = policy_name
        self._path = next((path for path, text in self._texts.items() if _has(text, policy_name)), None)
        if self._path is None and len(self._texts) == 1:
            (self._path,) = self._texts
        self._document = _parsed(self._texts[self._path]) if self._path else tomlkit.document()

    def set(self, calibration: Calibration, target: Target, said: str) -> None:
        """Puts a threshold in its place, with what it rests on as a comment."""
        if calibration.now is None:
            return
        path = ["policies", self._policy_name, *calibration.setting.split(".")]
        key = path[-1]
        at: TOMLDocument | Container | AbstractTable = self._document
        for name in path[:-1]:
            if name not in at:
                at.add(name, tomlkit.table(is_super_table=name in ("policies", "categories")))
            inner = at[name]
            if not isinstance(inner, AbstractTable | Container):
                raise DataUnusable(f"{self._path}: {name} is not a table")
            at = inner
        is_new = not at
        at[key] = calibration.now.threshold
        if is_new:
            at.add(tomlkit.nl())
        if isinstance(at, Table):
            words = f"{_words(calibration.now.of(target))} on {calibration.held_out} held-out examples of {said}"
            at[key].comment(f"calibrated {date.today()} for {target}: {words}")

    def write(self, path: Path, *, replace: bool) -> None:
        """Writes the file. Raises PolicyError where a worker would not take it, FileExistsError, OSError."""
        text = tomlkit.dumps(self._document).encode()
        PolicyStore.from_texts({**self._texts, self._path or path: text})
        with path.open("wb" if replace else "xb") as file:
            file.write(text)


def _has(text: bytes, policy_name: str) -> bool:
    return policy_name in _parsed(text).get("policies", {})


def _parsed(text: bytes) -> TOMLDocument:
    return tomlkit.parse(text.decode("utf-8-sig"))


def _words(reached: Estimate | None) -> str:
    return "not measurable" if reached is None else f"reached {reached}"
