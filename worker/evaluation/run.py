"""A run: labelled data through the guards into a results file, from where it was stopped if it was."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker import __version__
from worker.contract.verdict import ModelRef
from worker.evaluation.data_set import DataSet
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.judging import judge_examples
from worker.evaluation.labelled_example import DataUnusable
from worker.evaluation.results_file import RESULTS_NAME, RunHeader, continued
from worker.guards.loading import load_guards
from worker.moderation.moderator import Moderator
from worker.moderation.options import ModeratorOptions
from worker.policy.policy import Policy
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Run:
    """What was judged, by what, and what came of it, in the order of the file."""

    header: RunHeader
    rows: dict[str, JudgedExample]
    already_there: int = 0  # rows of an earlier start

    @property
    def verdicts(self) -> int:
        """Examples with a verdict."""
        return sum(row.verdict is not None for row in self.rows.values())


async def run(settings: Settings, policy: Policy, data: DataSet, output: Path, on_judged: Callable[[int], None]) -> Run:
    """Judges what the results file in the directory `output` lacks. `on_judged` is told of examples as they are done.

    Raises DataUnusable where the file is of another data set, policy or model; ModelRefused, ModelUnavailable.
    """
    fingerprint = await asyncio.to_thread(data.fingerprint)
    guards = await asyncio.to_thread(load_guards, settings)
    moderator = Moderator(guards, ModeratorOptions.of(settings))
    try:
        header = RunHeader(
            data=tuple(path.name for path in data.paths),
            data_fingerprint=fingerprint,
            policy_name=policy.name,
            policy_hash=policy.hash,
            policy=policy.model_dump(mode="json"),
            models=tuple(
                ModelRef(id=model.id, revision=model.revision, stand_in=model.stand_in)
                for guard in guards
                for model in guard.models
            ),
            worker_version=__version__,
        )
        with continued(output / RESULTS_NAME, header) as (writer, results):
            rows = results.rows
            there = sum(row.is_final for row in rows.values())
            judging = judge_examples(moderator, policy, data.examples(), dict(rows), on_passed=lambda: on_judged(1))
            async for row in judging:
                writer.add(row)
                rows[row.id] = row
                on_judged(1)
    except OSError as error:
        raise DataUnusable(f"{output}: {error.strerror or error}") from None
    finally:
        moderator.close()
    return Run(header, rows, there)
