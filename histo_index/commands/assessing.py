"""Calibrate and evaluate an index on labelled tiles."""

from pathlib import Path
from typing import Annotated, Any

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
from histo_index.commands.outcome import (
    REJECTED_EXIT,
    exit_if,
    print_result,
    require_alone,
    require_index,
)

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
    from histo_index import api, judgements
    from histo_index.search.objectives import Objective

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
    print_result(found.as_dict() if as_json else judgements.describe_calibration(found, folder))
    exit_if(found.unused, REJECTED_EXIT)


def _clear(folder: Path, *, as_json: bool) -> dict[str, Any] | str:
    from histo_index.search.own_calibration import clear_calibration

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
        typer.Option("--tiles", help="Where the tiles lie now, for floors and report."),
    ] = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the index is worth on labelled tiles, beside what it has to beat."""
    from histo_index import api, judgements
    from histo_index.search import writing

    writing.check_output(report, overwrite=overwrite, suffixes=(".html",))
    opened = api.open(require_index(index), device=device, private=private)
    found = opened.evaluate(
        labels, pairs=pairs, label=label, group=group, threshold=threshold, tiles=tiles
    )
    if report is not None:
        opened.report(found, report, tiles=tiles, names=report_names)
    print_result(found.as_dict() if as_json else judgements.describe_evaluation(found))
    exit_if(found.subject.problems, REJECTED_EXIT)
