"""List, describe and compare encoders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.options import (
    DeviceOption,
    GroupOption,
    JsonOption,
    OverwriteOption,
)
from histo_index.commands.output import align, estimate_text, facts_text, print_result, table_text
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.search.evaluation.encoder_metrics import EncoderComparison

app = typer.Typer()


@app.command("list", epilog="Example: histo-index encoder list encoders")
def list_command(
    folder: Annotated[Path, typer.Argument(help="Folder with encoder folders.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """List the bundled encoder and the encoder folders in a folder."""
    from histo_index.api.encoder_table.look import list_encoders

    found = list_encoders(folder)
    print_result(found if as_json else table_text(found))


@app.command("info", epilog="Example: histo-index encoder info encoder --verify")
def info(
    encoder: Annotated[
        Path, typer.Argument(help="An encoder folder; `bundled` is the bundled one.")
    ],
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Encode the self-test tiles on every runtime of this machine."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe an encoder folder: network, preprocessing, licence, agreement of runtimes."""
    from histo_index.api.encoder_table.look import look_into

    found = look_into(encoder, verify=verify)
    facts = found.facts | ({"agreement here": found.agreement or "no self-test"} if verify else {})
    print_result(facts if as_json else facts_text(facts))


@app.command(
    "compare",
    epilog="Example: histo-index encoder compare bundled mine --tiles tiles --labels labels.csv",
)
def compare(
    encoders: Annotated[
        list[str], typer.Argument(help="Encoder folders; `bundled` is the bundled one.")
    ],
    tiles: Annotated[Path, typer.Option("--tiles", help="Folder of the labelled tiles.")],
    labels: Annotated[
        Path, typer.Option("--labels", help="Table with path, label and group of each tile.")
    ],
    group: GroupOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the comparison as one HTML page.")
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate several encoders on the same labelled tiles: one table, one page."""
    from histo_index.api.encoder_table.compare import compare_encoders, write_comparison
    from histo_index.commands import result_files
    from histo_index.commands.progress import report_build

    result_files.check_output(report, overwrite=overwrite, suffixes=(".html",))
    found = compare_encoders(
        encoders, tiles, labels, group=group, device=device, progress=report_build
    )
    if report is not None:
        write_comparison(found, report)
    print_result(found.as_dict() if as_json else describe_comparison(found))


def describe_comparison(found: "EncoderComparison") -> str:
    """Format a comparison as a table; intervals are 95 % and resample groups."""
    groups = "no groups" if found.groups is None else counted(found.groups, "group")
    header = ["encoder", "pair ROC-AUC", "balanced accuracy", "1-NN", "images/s", "bytes/tile"]
    lines = [
        [
            encoder.name,
            *(
                estimate_text(figure)
                for figure in (encoder.roc_auc, encoder.balanced_accuracy, encoder.nearest)
            ),
            f"{encoder.images_per_second:.1f}",
            f"{encoder.bytes_per_tile:,}",
        ]
        for encoder in found.encoders
    ]
    title = (
        f"{counted(found.tiles, 'tile')} of {groups}, {counted(found.pairs, 'pair')}, "
        f"{found.distance} distances"
    )
    return "\n".join([title, "", *align([header, *lines])])
