"""Calibrate and evaluate an index on labelled tiles or pairs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from histo_index.commands.answers.metrics import describe_calibration, describe_evaluation
from histo_index.commands.options import (
    AnyMppOption,
    DeviceOption,
    GroupOption,
    IndexOption,
    JsonOption,
    LabelOption,
    MarksOption,
    OverwriteOption,
    PrivateOption,
    ReportNamesOption,
    ReportOption,
    ThresholdOption,
    TilesOption,
    require_alone,
    require_index,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    exit_if,
    print_result,
)

app = typer.Typer()


@app.command(epilog="Example: histo-index calibrate --pairs labelled.csv -i tiles.hx")
def calibrate(
    context: typer.Context,
    index: IndexOption = None,
    pairs: Annotated[
        str | None, typer.Option("--pairs", help="Labelled pairs: CSV, TSV, Parquet, or -.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Draw pairs from a label file, or from a column of the index."
        ),
    ] = None,
    label: LabelOption = None,
    group: GroupOption = None,
    objective: Annotated[
        str, typer.Option("--objective", help="accuracy, balanced-accuracy or f1.")
    ] = "accuracy",
    prior: Annotated[
        float | None,
        typer.Option("--prior", help="Share of same pairs in later use (default: as labelled)."),
    ] = None,
    max_fpr: Annotated[
        float | None,
        typer.Option(
            "--max-fpr",
            help="Instead of an objective: largest false positive rate (different called same).",
        ),
    ] = None,
    costs: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--costs", help="Instead of an objective: costs of a wrong same and a wrong different."
        ),
    ] = None,
    unsure: Annotated[
        bool, typer.Option("--unsure", help="Allow the verdict unsure by default.")
    ] = False,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="Estimate the threshold without labels; less accurate."),
    ] = False,
    marks: MarksOption = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the calibration.")] = False,
    private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit threshold and probabilities to labelled pairs; later commands use them."""
    from histo_index.api.index import open as open_index
    from histo_index.search.calibration.objectives import Objective

    folder = require_index(index)
    if clear:
        require_alone(context, "clear", beside=("index", "as_json"))
        print_result(_clear(folder, as_json=as_json))
        return
    aim = Objective(name=objective, prior=prior, max_false_positive_rate=max_fpr, costs=costs)
    found = open_index(folder, private=private).calibrate(
        pairs, labels=labels, label=label, group=group, objective=aim, unsure=unsure,
        unlabelled=unlabelled, marks=marks,
    )  # fmt: skip
    print_result(found.as_dict() if as_json else describe_calibration(found, folder))
    exit_if(found.unused, REJECTED_EXIT)


def _clear(folder: Path, *, as_json: bool) -> dict[str, Any] | str:
    from histo_index.api.own_calibration import clear_calibration

    is_cleared = clear_calibration(folder)
    if as_json:
        return {"index": folder, "cleared": is_cleared}
    return f"{folder}: {'calibration removed' if is_cleared else 'no calibration to remove'}"


@app.command(epilog="Example: histo-index evaluate --labels labels.csv -i tiles.hx")
def evaluate(
    index: IndexOption = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="A label file, or a column of the index (default: label)."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option("--pairs", help="Labelled pairs (default: drawn from the classes)."),
    ] = None,
    label: LabelOption = None,
    group: GroupOption = None,
    threshold: ThresholdOption = None,
    marks: MarksOption = False,
    tiles: TilesOption = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    any_mpp: AnyMppOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the index on labelled tiles and compare it with baselines."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files

    result_files.check_output(report, overwrite=overwrite, suffixes=(".html",))
    opened = open_index(require_index(index), device=device, private=private, any_mpp=any_mpp)
    found = opened.evaluate(
        labels, pairs=pairs, label=label, group=group, threshold=threshold, tiles=tiles,
        marks=marks,
    )  # fmt: skip
    if report is not None:
        opened.report(found, report, tiles=tiles, names=report_names)
    print_result(found.as_dict() if as_json else describe_evaluation(found))
    exit_if(found.dataset.problems, REJECTED_EXIT)
