"""Calibrate and evaluate an index on labelled tiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from histo_index.commands.options import (
    DeviceOption,
    GroupOption,
    IndexOption,
    JsonOption,
    LabelOption,
    OverwriteOption,
    PrivateOption,
    ReportNamesOption,
    ReportOption,
    ThresholdOption,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    exit_if,
    print_result,
    require_alone,
    require_index,
)
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.search.bootstrap import Estimate
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.evaluation.result import Contender, Evaluation

assessing = typer.Typer()


@assessing.command(epilog="Example: histo-index calibrate --pairs labelled.csv -i tiles.hx")
def calibrate(
    context: typer.Context,
    index: IndexOption = None,
    pairs: Annotated[
        str | None, typer.Option("--pairs", help="Labelled pairs: CSV, TSV, Parquet, or -.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Draw pairs from a label file, or a column of the index."),
    ] = None,
    label: LabelOption = None,
    group: GroupOption = None,
    objective: Annotated[
        str, typer.Option("--objective", help="accuracy, balanced-accuracy or f1.")
    ] = "accuracy",
    prior: Annotated[
        float | None, typer.Option("--prior", help="Share of same pairs in use; else as labelled.")
    ] = None,
    max_fpr: Annotated[
        float | None,
        typer.Option("--max-fpr", help="Instead: at most this share of different called same."),
    ] = None,
    costs: Annotated[
        tuple[float, float] | None,
        typer.Option("--costs", help="Instead: what a wrong same and a wrong different cost."),
    ] = None,
    unsure: Annotated[
        bool, typer.Option("--unsure", help="Let verdicts be unsure from now on.")
    ] = False,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Guess the threshold without labels: weaker.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the calibration; fit nothing.")
    ] = False,
    private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit threshold and probabilities to labelled pairs; later answers use them."""
    from histo_index.api import index as api
    from histo_index.search.calibration.objectives import Objective

    folder = require_index(index)
    if clear:
        require_alone(context, "clear", beside=("index", "as_json"))
        print_result(_clear(folder, as_json=as_json))
        return
    aim = Objective(name=objective, prior=prior, max_false_positive_rate=max_fpr, costs=costs)
    found = api.open(folder, private=private).calibrate(
        pairs, labels=labels, label=label, group=group, objective=aim, unsure=unsure,
        unlabelled=unlabelled,
    )  # fmt: skip
    print_result(found.as_dict() if as_json else describe_calibration(found, folder))
    exit_if(found.unused, REJECTED_EXIT)


def _clear(folder: Path, *, as_json: bool) -> dict[str, Any] | str:
    from histo_index.api.own_calibration import clear_calibration

    is_cleared = clear_calibration(folder)
    if as_json:
        return {"index": folder, "cleared": is_cleared}
    return f"{folder}: {'calibration removed' if is_cleared else 'no calibration to remove'}"


@assessing.command(epilog="Example: histo-index evaluate --labels labels.csv -i tiles.hx")
def evaluate(
    index: IndexOption = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="A label file, or a column; else label.")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option("--pairs", help="Labelled pairs; else drawn from the classes.")
    ] = None,
    label: LabelOption = None,
    group: GroupOption = None,
    threshold: ThresholdOption = None,
    tiles: Annotated[
        Path | None,
        typer.Option("--tiles", help="Where the tiles lie now, for baselines and report."),
    ] = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the index is worth on labelled tiles, beside what it has to beat."""
    from histo_index.api import index as api
    from histo_index.commands import result_files

    result_files.check_output(report, overwrite=overwrite, suffixes=(".html",))
    opened = api.open(require_index(index), device=device, private=private)
    found = opened.evaluate(
        labels, pairs=pairs, label=label, group=group, threshold=threshold, tiles=tiles
    )
    if report is not None:
        opened.report(found, report, tiles=tiles, names=report_names)
    print_result(found.as_dict() if as_json else describe_evaluation(found))
    exit_if(found.dataset.problems, REJECTED_EXIT)


_UNKNOWN: Final = "-"


def describe_calibration(found: "Calibration", index: Path) -> str:
    """Say what an index now decides by, and how far to trust it."""
    units = "groups" if found.unit == "group" else "tiles"
    accuracy = "unknown without labels; no probabilities either"
    if not found.is_unlabelled:
        accuracy = f"{_ends(found.accuracy, '.3f')}, of pairs whose {units} chose no threshold"
    lines = [
        f"{index}: {found.origin}",
        f"  threshold  {_ends(found.threshold, '.4g')}, where {found.prior:.3g} of the pairs "
        "in use are the same",
        f"  accuracy   {accuracy}",
        f"  unsure     {'a verdict' if found.answers_unsure else 'no verdict unless asked for'}",
    ]
    return "\n".join([*lines, *(f"  doubtful   {printable(line)}" for line in found.warnings)])


def describe_evaluation(found: "Evaluation") -> str:
    """Say what an index is worth, beside what it has to beat, and what makes that doubtful."""
    from histo_index.search.evaluation.baselines import RANDOM

    dataset = found.dataset
    limit = "none" if found.threshold.value is None else f"{found.threshold.value:.4g}"
    same = int(dataset.is_same.sum())
    is_beside = any(baseline.name == RANDOM for baseline in found.baselines)
    parts = [
        found.headline,
        *(f"  doubtful   {printable(line)}" for line in found.warnings),
        f"  tiles      {len(dataset.rows):,} of {counted(len(dataset.group_names), 'group')}, "
        f"{len(dataset.classes)} classes",
        f"  pairs      {len(dataset.is_same):,}, {same:,} of them same; "
        f"{printable(dataset.pairs_from)}",
        f"  threshold  {limit}, {printable(found.threshold.origin)}",
        f"  distances  {found.distance}{', of random weights likewise' if is_beside else ''}",
        "",
        *_table("pairs", [found.index, *found.baselines], "pairs"),
    ]
    for kind in found.index.retrieval:
        parts += ["", *_table(f"neighbours, {kind}", [found.index, *found.baselines], kind)]
    return "\n".join([*parts, *_abstaining(found)])


def _table(title: str, contenders: Sequence["Contender"], kind: str) -> list[str]:
    """Lay out figures in lines and contenders in columns; of baselines only the values."""
    own, *baselines = [
        c.pairs if kind == "pairs" else c.retrieval.get(kind, {}) for c in contenders
    ]
    header = [title, "index", *(baseline.name for baseline in contenders[1:])]
    body = [
        [
            name.replace("_", " "),
            _ends(figure, ".3f"),
            *(
                _value(baseline[name], ".3f") if name in baseline else _UNKNOWN
                for baseline in baselines
            ),
        ]
        for name, figure in own.items()
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *body)
    ]


def _abstaining(found: "Evaluation") -> list[str]:
    risk = found.risk_coverage
    if risk.answered is None or risk.risk_answered is None:
        return []
    if risk.risk_answered.value is None:
        return ["", "With --unsure not one of the pairs is answered."]
    return [
        "",
        f"With --unsure {_ends(risk.answered, '.3f')} of the pairs are answered, and "
        f"{_ends(risk.risk_answered, '.3f')} of those answers are wrong "
        f"(of all {risk.risk[-1]:.3f}).",
    ]


def _ends(figure: "Estimate", form: str) -> str:
    if figure.low is None or figure.high is None:
        return _value(figure, form)
    return f"{_value(figure, form)} ({figure.low:{form}}…{figure.high:{form}})"


def _value(figure: "Estimate", form: str) -> str:
    return _UNKNOWN if figure.value is None else f"{figure.value:{form}}"
