"""`moderation-worker calibrate`: thresholds from labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.context import StandInOption, policy_of, settings_of
from worker.cli.labelled_data import (
    CategoryOption,
    Columns,
    DefaultGroupOption,
    Format,
    FormatOption,
    GroupOption,
    IdOption,
    LabelMeans,
    LabelMeansOption,
    LabelOption,
    OwnGroupOption,
    SafeOption,
    SplitOption,
    TextOption,
    UnsafeOption,
    data_set_of,
    judged,
    surveyed,
    told,
)
from worker.exit_codes import ExitCode
from worker.policy.store import PolicyStore

if TYPE_CHECKING:
    from worker.evaluation.calibration import Calibration
    from worker.evaluation.results_file import Results
    from worker.evaluation.threshold import Reached, Target
    from worker.policy.policy import Policy
    from worker.settings import Settings

_OUTPUT, _RESULTS = Path("policies.calibrated.toml"), Path("calibration")


def calibrate(
    context: typer.Context,
    data: Annotated[list[Path], typer.Argument(help="A run of `evaluate` (its directory), or labelled data as there.")],
    target_fpr: Annotated[float | None, typer.Option(help="The most false positives to have, such as 0.01.")] = None,
    target_recall: Annotated[float | None, typer.Option(help="The least recall to have, such as 0.95.")] = None,
    per_category: Annotated[bool, typer.Option("--per-category", help="A threshold for each category.")] = False,
    policy: Annotated[str | None, typer.Option(help="The policy to calibrate; else the default one.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The policies file to write.")] = _OUTPUT,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    results: Annotated[Path, typer.Option(help="Where verdicts on labelled data are kept.")] = _RESULTS,
    held_out: Annotated[float, typer.Option(min=0.1, max=0.9, help="The share of examples to measure on.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Chooses which examples are held out.")] = 0,
    small_data: Annotated[
        bool, typer.Option("--small-data", help="Write thresholds that the data cannot vouch for, too.")
    ] = False,
    format_: FormatOption = Format.AUTO,
    split: SplitOption = None,
    text_column: TextOption = None,
    label_column: LabelOption = None,
    category_column: CategoryOption = None,
    group_column: GroupOption = None,
    id_column: IdOption = None,
    label_means: LabelMeansOption = LabelMeans.CONTENT,
    unsafe_value: UnsafeOption = None,
    safe_value: SafeOption = None,
    default_group: DefaultGroupOption = None,
    group: OwnGroupOption = None,
    stand_in: StandInOption = False,
) -> None:
    """Choose thresholds for a target on one half of labelled data, and measure them on the other.

    Writes the policies file of the settings with these thresholds in it; everything else in it stays. A threshold that
    the data is too small to vouch for is not written: exit code 1 where none is left.

    Example: moderation-worker calibrate evaluation --target-fpr 0.01
    """
    from worker.evaluation.results_file import Results

    target = _target(target_fpr, target_recall)
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already; --force writes over it")
    settings = settings_of(context, stand_in=stand_in)
    base = policy_of(PolicyStore.of(settings), policy)
    columns = Columns(text_column, label_column, category_column, group_column, id_column)
    if (found := _earlier_run(data, base)) is None:
        labelled = data_set_of(
            data, format_, split, columns, label_means, (unsafe_value, safe_value), (default_group, group)
        )
        run = judged(settings, _probing(base), labelled, surveyed(labelled), results)
        found = Results(run.header, run.rows)
    calibrations = _calibrations(found, base, target, held_out, seed, per_category=per_category)
    _print(calibrations, target, stand_in=found.header.stand_in, small_data=small_data)
    written = [each for each in calibrations if each.now is not None and (each.usable or small_data)]
    if not written:
        typer.echo(f"no threshold can be vouched for: {output} is not written", err=True)
        raise typer.Exit(ExitCode.FAILED)
    _write(settings, base, written, target, found, output, force=force)


def _target(fpr: float | None, recall: float | None) -> "Target":
    from worker.evaluation.threshold import Target

    if (fpr is None) == (recall is None):
        raise typer.BadParameter("give one of --target-fpr and --target-recall")
    target = Target("fpr", fpr) if fpr is not None else Target("recall", recall or 0.0)
    if not 0 < target.error_rate < 0.5:
        raise typer.BadParameter("--target-fpr must be between 0 and 0.5, --target-recall between 0.5 and 1")
    return target


def _earlier_run(data: list[Path], base: "Policy") -> "Results | None":
    """The results of a run that is named instead of data. Raises BadParameter where it judged by other rules."""
    from worker.evaluation.results_file import RESULTS_NAME, read_results, results_path
    from worker.policy.policy import Policy

    path = results_path(data[0])
    if len(data) != 1 or path.name != RESULTS_NAME or not path.exists():
        return None
    found = told(lambda: read_results(path))
    judged_under = Policy.model_validate(found.header.policy)
    for rule in ("excluded_categories", "excluded_mode", "judged_roles", "images"):
        if getattr(judged_under, rule) != getattr(base, rule):
            raise typer.BadParameter(
                f"{path}: was judged under {judged_under.name} with other {rule} than those of {base.name}; "
                f"run evaluate --policy {base.name}, or name the labelled data instead"
            )
    return found


def _probing(base: "Policy") -> "Policy":
    """The policy with which categories are named at every score: what thresholds below the base's are chosen by."""
    from worker.policy.policy import Policy

    ignored = {key: {"action": "ignore"} for key, rule in base.categories.items() if rule.action == "ignore"}
    values = base.model_dump() | {"unsafe_threshold": 0.0, "review_band": None, "categories": ignored}
    return Policy.model_validate(values)


def _calibrations(
    found: "Results", base: "Policy", target: "Target", held_out: float, seed: int, *, per_category: bool
) -> "list[Calibration]":
    from worker.evaluation.calibration import Calibrator
    from worker.policy.policy import Policy

    known_from = Policy.model_validate(found.header.policy).categories_wanted_from
    calibrator = Calibrator(target, base, known_from, held_out, seed)
    rows = list(found.rows.values())
    return list(calibrator.categories(rows) if per_category else calibrator.whole(rows))


def _print(calibrations: "list[Calibration]", target: "Target", *, stand_in: bool, small_data: bool) -> None:
    from worker.evaluation.report import STAND_IN_WARNING

    console = Console(width=None if Console().is_terminal else 140)
    if stand_in:
        console.print(STAND_IN_WARNING, style="bold red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Target: {target}, measured on examples held out", markup=False, highlight=False)
    table = Table("", "threshold", "false positive rate", "recall", "chosen on", "held out")
    for each in calibrations:
        word = "calibrated" if each.usable or small_data else "not written"
        counts = (str(each.calibrated_on), str(each.held_out))
        table.add_row(each.title, *_cells(each.before, "as it was"), "", "")
        table.add_row("", *(_cells(each.now, word) if each.now else ("none", "", "")), *counts)
    console.print(table)
    for each in calibrations:
        if reason := each.unreachable or each.too_small:
            console.print(f"{each.setting}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _cells(reached: "Reached | None", word: str) -> tuple[str, str, str]:
    from worker.evaluation.report_tables import percent

    if reached is None:
        return "", "", ""
    return f"{reached.threshold:.6g} {word}", percent(reached.false_positive_rate), percent(reached.recall)


def _write(
    settings: "Settings",
    base: "Policy",
    written: "list[Calibration]",
    target: "Target",
    found: "Results",
    output: Path,
    *,
    force: bool,
) -> None:
    from worker.evaluation.calibrated_file import CalibratedFile

    header = found.header
    said = f"{', '.join(header.data)} {header.data_fingerprint}" + (" by STAND-INS" if header.stand_in else "")
    file = CalibratedFile(settings.policies_file, base.name)
    for each in written:
        file.set(each, target, f"{said}{'; TOO FEW to vouch for it' if each.too_small else ''}")
    told(lambda: file.write(output, replace=force))
    typer.echo(f"{output}: {', '.join(each.setting for each in written)} of the policy {base.name}")
